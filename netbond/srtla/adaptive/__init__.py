"""Mode adaptive: models each link, and gives each packet to the link on which it arrives first."""
