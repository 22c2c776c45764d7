"""How many requests may leave: counted where every attempt passes, so that not one more does."""

from .errors import Problem, SafetyStop


class Budget:
    """Allow `requests` attempts, whoever makes them; what never left is given back."""

    def __init__(self, requests: int) -> None:
        self.requests = requests
        self._left = requests

    @property
    def spent(self) -> bool:
        """Tell whether nothing more may leave."""
        return self._left <= 0

    def check(self) -> None:
        """Raise `SafetyStop` where nothing more may leave."""
        if self.spent:
            noun = "request" if self.requests == 1 else "requests"
            message = f"stopped: the limit of {self.requests:,} {noun} is reached"
            raise SafetyStop(message, problem=Problem.REQUESTS_SPENT)

    def spend(self) -> None:
        """Count one attempt that leaves."""
        self._left -= 1

    def give_back(self) -> None:
        """Count one attempt less: it never left."""
        self._left += 1
