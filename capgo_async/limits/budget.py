"""A limit on the number of requests of a run, checked where every attempt passes."""

from ..errors import Problem, SafetyStop


class Budget:
    """Allow `requests` attempts in total. An attempt that never left is given back."""

    def __init__(self, requests: int) -> None:
        self.requests = requests
        self._left = requests

    @property
    def spent(self) -> bool:
        return self._left <= 0

    def check(self) -> None:
        """Raise `SafetyStop` if nothing more may leave."""
        if self.spent:
            noun = "request" if self.requests == 1 else "requests"
            message = f"stopped: the limit of {self.requests:,} {noun} is reached"
            raise SafetyStop(message, problem=Problem.REQUESTS_SPENT)

    def spend(self) -> None:
        self._left -= 1

    def give_back(self) -> None:
        self._left += 1
