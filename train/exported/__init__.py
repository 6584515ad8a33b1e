"""What an exported model carries with it: these files import nothing of tamis, and tamis samples with the same ones."""
