"""The front door: one port for carriers of clients, the API and requests of a backend, and who waits there."""
