"""The client: dials out, keeps one session, dials targets for what comes back through it."""
