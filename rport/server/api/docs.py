"""The API's documentation: one page that holds all it needs and renders openapi.json, without any other server."""

import base64
import hashlib

_SCRIPT = """
const make = (tag, text, ...inner) => {
  const e = document.createElement(tag);
  e.textContent = text || '';
  e.append(...inner);
  return e;
};
const parameter = p => make('li', '', make('code', p.name), ' (' + p.in + ') ' + (p.description || ''));
const answer = ([code, r]) => make('li', '', make('code', code), ' ' + r.description);
const show = doc => {
  const main = document.querySelector('main');
  main.replaceChildren(make('h1', doc.info.title + ' API ' + doc.info.version), make('p', doc.info.description));
  for (const [path, methods] of Object.entries(doc.paths))
    for (const [method, op] of Object.entries(methods))
      main.append(
        make('h2', method.toUpperCase() + ' ' + path),
        make('p', op.description || op.summary),
        make('ul', '', ...(op.parameters || []).map(parameter)),
        make('p', 'Answers:'),
        make('ul', '', ...Object.entries(op.responses).map(answer)));
};
fetch('openapi.json').then(r => r.json()).then(show)
  .catch(e => { document.querySelector('main').textContent = 'openapi.json cannot be shown: ' + e; });
"""
_STYLE = (
    ":root{color-scheme:light dark}body{font:1rem/1.5 system-ui,sans-serif;max-width:50rem;margin:2rem auto;"
    "padding:0 1rem}h2,code{font-family:monospace}h2{font-size:1rem;margin-top:2rem}"
)


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


PAGE = (
    "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
    f"<title>rport API</title><style>{_STYLE}</style><main>Loading</main>"
    f"<p><a href=openapi.json>openapi.json</a></p><script>{_SCRIPT}</script></html>"
)
PAGE_HEADERS = {
    "Content-Security-Policy": (
        f"default-src 'none'; connect-src 'self'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}
