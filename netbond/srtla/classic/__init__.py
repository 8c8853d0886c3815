"""Mode classic: windows, as other SRTLA senders have them."""
