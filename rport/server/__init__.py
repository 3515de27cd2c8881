"""The server: the front door, sessions and their tunnels, the API. Needs the `server` extra."""
