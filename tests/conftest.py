"""For all tests."""

from hypothesis import settings

# A busy machine is slow now and then; how long one example takes says nothing.
settings.register_profile("netbond", deadline=None)
settings.load_profile("netbond")
