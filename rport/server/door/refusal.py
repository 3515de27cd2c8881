"""What is said to an HTTP request that is turned away. Pure."""

from http import HTTPStatus


class Refusal(Exception):
    """An HTTP status and a sentence for whoever reads the answer."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text

    def answer(self) -> bytes:
        """The whole HTTP answer."""
        body = self.text.encode() + b"\n"
        fields = [
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}",
            "Content-Type: text/plain; charset=utf-8",
            f"Content-Length: {len(body)}",
            *(["Upgrade: websocket", "Sec-WebSocket-Version: 13"] if self.status == 426 else []),
            "Connection: close" if self.status != 426 else "Connection: close, Upgrade",
        ]
        return "\r\n".join([*fields, "", ""]).encode() + body
