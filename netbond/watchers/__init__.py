"""Where facts come from: one file per source. None of them decides anything."""
