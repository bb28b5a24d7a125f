"""The papers' networks, the recipes that train them, and small trained checkpoints."""
