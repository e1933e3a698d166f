"""Agents that cheat, break their sandbox, or work honestly, and what each mode of verification makes of them."""
