"""Operations: what they are, what holds for each kind, and how they end."""
