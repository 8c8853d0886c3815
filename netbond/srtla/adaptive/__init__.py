"""Mode adaptive: a model of each link, and packets dealt by it."""
