"""The routes, a module for each kind of thing; router(plane) of each makes them."""
