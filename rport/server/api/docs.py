"""The API's documentation page: one self-contained page, no network but the server itself."""

import base64
import hashlib

_SCRIPT = """
const text = (tag, value) => { const e = document.createElement(tag); e.textContent = value; return e; };
fetch('/api/openapi.json').then(r => r.json()).then(doc => {
  const main = document.querySelector('main');
  main.append(text('h1', doc.info.title + ' API ' + doc.info.version), text('p', doc.info.description || ''));
  for (const [path, methods] of Object.entries(doc.paths)) for (const [method, op] of Object.entries(methods)) {
    main.append(text('h2', method.toUpperCase() + ' ' + path), text('p', op.description || op.summary || ''));
    const list = document.createElement('ul');
    for (const p of op.parameters || []) list.append(text('li', p.name + ' (' + p.in + '): ' + (p.description || '')));
    for (const [code, r] of Object.entries(op.responses)) list.append(text('li', code + ': ' + r.description));
    main.append(list);
  }
});
"""
_STYLE = "body{font:16px/1.5 sans-serif;max-width:50rem;margin:2rem auto;padding:0 1rem}h2{font:bold 1rem monospace}"


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


PAGE = (
    f"<!doctype html><meta charset=utf-8><title>rport API</title><style>{_STYLE}</style><main></main>"
    f"<p><a href=/api/openapi.json>openapi.json</a></p><script>{_SCRIPT}</script>"
)
PAGE_POLICY = f"default-src 'none'; connect-src 'self'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}"
