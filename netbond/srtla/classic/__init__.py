"""Mode classic: one window per link, as in other SRTLA senders."""
