"""Systems that look at images: classifiers, and the segmenters built on them."""
