"""How the seed era told refusals on the routes that had forms of their own (contract A6: E2 to E4)."""

from ..exchange import Refusal
from ..validation import seed_complaint


def sentence(refusal: Refusal) -> dict[str, object]:
    """Write E2, as organizations did: the sentence under `status`, and what is known of the cause."""
    told: dict[str, object] = {"status": refusal.message}
    if refusal.code == "invalid_body":
        told["error"] = seed_complaint(refusal)
    return told


def knocked_out(refusal: Refusal) -> dict[str, object]:
    """Write E3, as members did: `KO` or a code word under `status`; complaints and unknown users stay E2."""
    if refusal.code in {"invalid_body", "user_not_found"}:
        return sentence(refusal)
    return {"error": refusal.message, "status": refusal.more.get("data", "KO")}


def bare(refusal: Refusal) -> dict[str, object]:
    """Write E4, as API keys did: the sentence under `error`, beside what the database said."""
    told: dict[str, object] = {"error": refusal.message}
    if "supabaseError" in refusal.more:
        told["supabaseError"] = refusal.more["supabaseError"]
    return told
