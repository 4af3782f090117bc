"""Lightning training of autoencoders and processors."""
