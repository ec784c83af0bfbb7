"""The interfaces of other packages, over this one: for code that was written for them."""
