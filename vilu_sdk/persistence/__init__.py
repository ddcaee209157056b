"""How anything is saved and comes back: folders, the Hub, cards."""
