"""Rows of contract C1 to C4: organizations, members, audit log, API keys."""

from conformance.exchanges import Exchange, Refusal, Row, Sent, e1, old, one, refusals, said, several

from capgo_async import (
    ApiKey,
    ApiKeySettings,
    AuditEntry,
    AuditFilter,
    Binding,
    Member,
    NewApiKey,
    NewOrganization,
    Organization,
    OrganizationSettings,
    errors,
)
from capgo_async.errors import (
    Conflict,
    InvalidRequest,
    MemberNotFound,
    NeedsUserSession,
    NotFound,
    PermissionDenied,
    ServerError,
)

ORG = "046a36ac-0000-4000-8000-000000000001"
USER = "6aa76066-0000-4000-8000-000000000001"
LOGO = "https://files.test/logo.png?token=signed"

# Organizations

ORGANIZATION = {
    "id": ORG,
    "created_by": USER,
    "created_at": "2026-01-01T00:00:00.5+00:00",
    "updated_at": "2026-07-20T10:00:00+00:00",
    "logo": LOGO,
    "name": "New name",
    "management_email": "ops@example.com",
    "customer_id": f"pending_{ORG}",
    "website": None,
}
ROW = {
    **ORGANIZATION,
    "stats_updated_at": None,
    "enforcing_2fa": False,
    "email_preferences": {"usage_limit": True},
    "enforce_hashed_api_keys": True,
    "max_apikey_expiration_days": 90,
    "has_usage_credits": False,
    "onboarding": {"intent": "ota"},
}
ORGANIZATION_MODEL = Organization(
    id=ORG,
    name="New name",
    created_by=USER,
    created_at="2026-01-01T00:00:00.5+00:00",
    updated_at="2026-07-20T10:00:00+00:00",
    logo=LOGO,
    management_email="ops@example.com",
    customer_id=f"pending_{ORG}",
)
UPDATED_MODEL = Organization(
    id=ORG,
    name="New name",
    created_by=USER,
    created_at="2026-01-01T00:00:00.5+00:00",
    updated_at="2026-07-20T10:00:00+00:00",
    logo=LOGO,
    management_email="ops@example.com",
    customer_id=f"pending_{ORG}",
    enforcing_2fa=False,
    enforce_hashed_api_keys=True,
    max_apikey_expiration_days=90,
    has_usage_credits=False,
)
SEED_ORGANIZATION = {name: value for name, value in ORGANIZATION.items() if name != "website"}

LIST = Sent("GET", "/organization")
GET = Sent("GET", "/organization", (("orgId", ORG),))
HEALTH = Sent("GET", "/ok")
PROBE = Sent("PUT", "/organization", body={"probe": True})
NEW = {"name": "New name", "email": "ops@example.com", "website": "example.com", "estimatedMau": 500, "intent": "ota"}
CREATE = Sent("POST", "/organization", body=NEW)
SEED_CREATE = Sent("PUT", "/organization", body=NEW)
CHANGE = {"orgId": ORG, "name": "New name", "website": None, "max_apikey_expiration_days": 90}
UPDATE = Sent("PUT", "/organization", body=CHANGE)
SEED_UPDATE = Sent("POST", "/organization", body=CHANGE)
NEEDS_ORG_ID = e1(400, "invalid_body", "Invalid body", error={"issues": [{"path": ["orgId"]}], "name": "SchemaError"})
SEED_NEEDS = old({"status": "Invalid body", "error": '[{"path":["name"],"message":"Required"}]'}, 400)
SEED_NEEDS_ORG_ID = old({"status": "Invalid body", "error": '[{"path":["orgId"],"message":"Required"}]'}, 400)
POLICY = (PermissionDenied, 401, "org_requires_expiring_key")


ORGANIZATIONS = (
    Row(
        "C1",
        "organizations.list",
        "GET /organization",
        lambda capgo: capgo.organizations.list().all(),
        [ORGANIZATION_MODEL],
        (
            one("2026-07", LIST, said([ORGANIZATION])),
            one("docs", LIST, said({"data": [ORGANIZATION]})),
            one("seed", LIST, old([SEED_ORGANIZATION])),
        ),
        refusals((InvalidRequest, 400, "invalid_body cannot_get_organizations cannot_parse_organizations"), POLICY),
    ),
    Row(
        "C1",
        "organizations.get",
        "GET /organization",
        lambda capgo: capgo.organizations.get(ORG),
        ORGANIZATION_MODEL,
        (
            one("2026-07", GET, said(ORGANIZATION)),
            one("docs", GET, said({"data": ORGANIZATION})),
            one("seed", GET, old(SEED_ORGANIZATION)),
        ),
        refusals(
            (InvalidRequest, 400, "invalid_body cannot_get_organization cannot_parse_organization"),
            (PermissionDenied, 400, "invalid_org_id"),
            POLICY,
        ),
    ),
    Row(
        "C1",
        "organizations.create",
        "POST /organization",
        lambda capgo: capgo.organizations.create(
            NewOrganization(name="New name", email="ops@example.com", website="example.com", estimated_mau=500, intent="ota")
        ),
        ORGANIZATION_MODEL,
        (
            several("2026-07", (LIST, said([])), (CREATE, said({"id": ORG})), (GET, said(ORGANIZATION))),
            several(
                "11.12",
                (LIST, said([])),
                (CREATE, said({"status": "Organization created", "id": ORG})),
                (GET, said(ORGANIZATION)),
            ),
            several(
                "docs",
                (LIST, said({"data": []})),
                (CREATE, said({"id": ORG})),
                (GET, said({"data": ORGANIZATION})),
            ),
            several(
                "docs (OpenAPI)",
                (LIST, said({"data": []})),
                (CREATE, said({"status": "Organization created"})),
                (LIST, said({"data": [ORGANIZATION]})),
            ),
            several(
                "seed",
                (LIST, old([])),
                (HEALTH, old()),
                (CREATE, SEED_NEEDS_ORG_ID),
                (SEED_CREATE, old({"status": "Organization created", "id": USER})),
                (LIST, old([SEED_ORGANIZATION])),
            ),
            several(
                "seed, set",
                (LIST, old([])),
                (HEALTH, old()),
                (PROBE, SEED_NEEDS),
                (SEED_CREATE, old({"status": "Organization created", "id": USER})),
                (LIST, old([SEED_ORGANIZATION])),
                options={"dialect": "seed"},
            ),
        ),
        refusals(
            (InvalidRequest, 400, "invalid_body cannot_get_user cannot_get_plan cannot_create_org_plan cannot_create_org"),
            (PermissionDenied, 400, "not_authorized"),
            (PermissionDenied, 403, "permission_denied"),
        ),
        refused=1,
    ),
    Row(
        "C1",
        "organizations.update",
        "PUT /organization",
        lambda capgo: capgo.organizations.update(
            ORG, OrganizationSettings(name="New name", website=None, max_apikey_expiration_days=90)
        ),
        UPDATED_MODEL,
        (
            several("2026-07", (HEALTH, said()), (UPDATE, said({"status": "Organization updated", "id": ORG, "data": ROW}))),
            several("docs", (HEALTH, said()), (UPDATE, said({"status": "Organization updated", "data": ROW}))),
            several("12.100", (HEALTH, said()), (UPDATE, said({"id": ORG, "data": ROW}))),
            several(
                "11.12",
                (HEALTH, old()),
                (PROBE, NEEDS_ORG_ID),
                (UPDATE, old({"status": "Organization updated", "data": ROW})),
            ),
            several(
                "seed",
                (HEALTH, old()),
                (PROBE, SEED_NEEDS),
                (SEED_UPDATE, old({"status": "Organization updated", "data": [SEED_ORGANIZATION]})),
                found=ORGANIZATION_MODEL,
            ),
            several(
                "seed, set",
                (HEALTH, old()),
                (PROBE, SEED_NEEDS),
                (SEED_UPDATE, old({"status": "Organization updated", "data": [SEED_ORGANIZATION]})),
                found=ORGANIZATION_MODEL,
                options={"dialect": "seed"},
            ),
        ),
        (
            *refusals(
                (
                    InvalidRequest,
                    400,
                    (
                        "invalid_body requires_2fa_to_enforce_2fa cannot_get_org cannot_update_org invalid_max_expiration_days "
                        "invalid_required_encryption_key"
                    ),
                ),
                (PermissionDenied, 400, "cannot_access_organization"),
                (ServerError, 500, "cannot_check_2fa"),
                POLICY,
            ),
            Refusal(Conflict, "cannot_update_org", e1(400, "cannot_update_org", error="org_name_changed")),
        ),
        refused=1,
    ),
    Row(
        "C1",
        "organizations.delete",
        "DELETE /organization",
        lambda capgo: capgo.organizations.delete(ORG),
        None,
        (
            one("2026-07", Sent("DELETE", "/organization", (("orgId", ORG),)), said()),
            one("11.12", Sent("DELETE", "/organization", (("orgId", ORG),)), said({"status": "Organization deleted"})),
        ),
        (
            *refusals(
                (InvalidRequest, 400, "invalid_json_parse_body missing_org_id cannot_delete_organization"),
                (PermissionDenied, 403, "invalid_org_id"),
            ),
            Refusal(NotFound, "not_json", old(b"404 Not Found", 404, kind="text/plain")),
        ),
    ),
)

# Members

MEMBER = {"uid": USER, "email": "owner@example.com", "image_url": LOGO, "role": "org_super_admin", "is_tmp": False}
INVITED = {"uid": ORG, "email": "new@example.com", "image_url": "", "role": "org_member", "is_tmp": True}
SEED_MEMBER = {"uid": USER, "email": "owner@example.com", "image_url": LOGO, "role": "super_admin"}
SEED_INVITED = {"uid": ORG, "email": "new@example.com", "image_url": "", "role": "invite_read"}
MEMBER_MODEL = Member(uid=USER, email="owner@example.com", image_url=LOGO, role="org_super_admin", is_tmp=False)
INVITED_MODEL = Member(uid=ORG, email="new@example.com", image_url="", role="org_member", is_tmp=True)
MEMBERS_OF = Sent("GET", "/organization/members", (("orgId", ORG),))
INVITE = Sent(
    "POST",
    "/organization/members",
    body={"orgId": ORG, "email": "new@example.com", "invite_type": "org_member", "role": "org_member"},
)
REMOVE = Sent("DELETE", "/organization/members", (("orgId", ORG), ("email", "new@example.com")))


def inviting(kind: type[errors.ApiError], data: str) -> Refusal:
    code = "error_inviting_user_to_organization"
    return Refusal(kind, code, e1(400, code, "Error inviting user to organization", data=data))


MEMBERS = (
    Row(
        "C2",
        "members.list",
        "GET /organization/members",
        lambda capgo: capgo.members.list(ORG).all(),
        [MEMBER_MODEL, INVITED_MODEL],
        (
            one("2026-07", MEMBERS_OF, said([MEMBER, INVITED])),
            one("docs", MEMBERS_OF, said({"data": [MEMBER, INVITED]})),
            one(
                "seed",
                MEMBERS_OF,
                old([SEED_MEMBER, {**SEED_INVITED, "image_url": None}]),
                found=[
                    Member(uid=USER, email="owner@example.com", image_url=LOGO, role="super_admin"),
                    Member(uid=ORG, email="new@example.com", role="invite_read"),
                ],
            ),
        ),
        refusals(
            (InvalidRequest, 400, "invalid_body cannot_get_organization_members cannot_parse_members"),
            (PermissionDenied, 400, "cannot_access_organization"),
            POLICY,
        ),
    ),
    Row(
        "C2",
        "members.invite",
        "POST /organization/members",
        lambda capgo: capgo.members.invite(ORG, "New@Example.com", "org_member"),
        None,
        (
            one("2026-07", INVITE, said()),
            one("docs", INVITE, said({"status": "OK", "data": SEED_MEMBER})),
            one("seed", INVITE, old({"status": "OK"})),
        ),
        (
            *refusals((InvalidRequest, 400, "invalid_body"), (PermissionDenied, 400, "cannot_access_organization")),
            inviting(Conflict, "ALREADY_INVITED"),
            inviting(NotFound, "NO_EMAIL"),
            inviting(NotFound, "NO_ORG"),
            inviting(PermissionDenied, "NO_RIGHTS"),
            inviting(InvalidRequest, "ROLE_NOT_FOUND"),
            inviting(InvalidRequest, "TOO_RECENT_INVITATION_CANCELATION"),
            Refusal(Conflict, "ALREADY_INVITED", old({"error": {"code": "P0001"}, "status": "ALREADY_INVITED"}, 400)),
        ),
    ),
    Row(
        "C2",
        "members.remove",
        "DELETE /organization/members",
        lambda capgo: capgo.members.remove(ORG, "New@Example.com"),
        None,
        (
            several("2026-07", (MEMBERS_OF, said([MEMBER, INVITED])), (REMOVE, said())),
            several("docs", (MEMBERS_OF, said({"data": [MEMBER, INVITED]})), (REMOVE, said({"status": "OK"}))),
            several("seed", (MEMBERS_OF, old([SEED_MEMBER, SEED_INVITED])), (REMOVE, old({"status": "OK"}))),
        ),
        (
            *refusals(
                (InvalidRequest, 400, "invalid_json_parse_body invalid_body error_deleting_user_from_organization"),
                (PermissionDenied, 400, "cannot_access_organization"),
                (PermissionDenied, 403, "cannot_delete_higher_priority_role"),
                (Conflict, 400, "CANNOT_REMOVE_LAST_SUPER_ADMIN"),
                (NotFound, 404, "user_not_found"),
                (MemberNotFound, 404, "organization_member_not_found"),
            ),
            Refusal(NotFound, "user_not_found", old({"status": "User not found"}, 400)),
            Refusal(NotFound, "user_not_found", old({"error": "User not found", "status": "KO"})),
        ),
        look=(Exchange(MEMBERS_OF, old({}, 503)),),
    ),
)

# The audit log

ENTRY = {
    "id": 2559,
    "created_at": "2026-07-20T10:00:00.1+00:00",
    "table_name": "channels",
    "record_id": "7",
    "operation": "UPDATE",
    "user_id": None,
    "org_id": ORG,
    "old_record": {"id": 7},
    "new_record": {"id": 7, "public": True},
    "changed_fields": ["public"],
    "actor_type": "apikey",
    "actor_user_id": USER,
    "actor_user_email": "owner@example.com",
    "actor_apikey_id": 101,
    "actor_apikey_name": "ci",
}
AUDIT = (("orgId", ORG), ("page", "0"), ("limit", "1"), ("tableName", "channels"), ("operation", "UPDATE"))
FIRST = Sent("GET", "/organization/audit", AUDIT)
SECOND = Sent("GET", "/organization/audit", (AUDIT[0], ("page", "1"), *AUDIT[2:]))
WHOLE = said({"data": [ENTRY], "total": 1, "page": 0, "limit": 1})
PART = said({"data": [ENTRY], "total": 2, "page": 0, "limit": 1})

AUDIT_LOG = (
    Row(
        "C3",
        "organizations.audit_log",
        "GET /organization/audit",
        lambda capgo: capgo.organizations.audit_log(ORG, AuditFilter(table="channels", operation="UPDATE", limit=1)).all(),
        [
            AuditEntry(
                id=2559,
                created_at="2026-07-20T10:00:00.1+00:00",
                table_name="channels",
                record_id="7",
                operation="UPDATE",
                org_id=ORG,
                old_record={"id": 7},
                new_record={"id": 7, "public": True},
                changed_fields=["public"],
                actor_type="apikey",
                actor_user_id=USER,
                actor_user_email="owner@example.com",
                actor_apikey_id=101,
                actor_apikey_name="ci",
            )
        ],
        (
            one("2026-07", FIRST, WHOLE),
            several("2026-07, past the end", (FIRST, PART), (SECOND, said({"data": [], "total": 1, "page": 1, "limit": 1}))),
            several("2026-07, past the end, refused", (FIRST, PART), (SECOND, e1(400, "cannot_get_audit_logs"))),
        ),
        refusals(
            (InvalidRequest, 400, "invalid_body cannot_get_audit_logs cannot_parse_audit_logs"),
            (PermissionDenied, 400, "invalid_org_id"),
            POLICY,
        ),
    ),
)

# API keys

SECRET = "9f86d081-884c-4d65-9a2f-eaa0c55ad0ff"
KEY = {
    "id": 101,
    "name": "ci",
    "user_id": USER,
    "created_at": "2026-07-20T10:00:00.1+00:00",
    "updated_at": None,
    "expires_at": "2026-12-31T00:00:00+00:00",
    "rbac_id": ORG,
    "is_hashed_key": False,
    "global_permissions": ["org.create"],
}
SEED_KEY = {"id": 101, "name": "ci", "key": SECRET, "mode": "all", "user_id": USER, "created_at": "2025-01-01T00:00:00+00:00"}
KEY_OF_2025 = {**SEED_KEY, "limited_to_apps": ["com.example.app"], "limited_to_orgs": [ORG], "expires_at": None}
FRESH = {
    "id": 101,
    "created_at": "2026-07-20 10:00:00.484405+00",
    "user_id": USER,
    "key": SECRET,
    "key_hash": None,
    "name": "ci",
    "rbac_id": ORG,
    "global_permissions": [],
}
KEY_MODEL = ApiKey(
    id=101,
    name="ci",
    user_id=USER,
    created_at="2026-07-20T10:00:00.1+00:00",
    expires_at="2026-12-31T00:00:00+00:00",
    rbac_id=ORG,
    is_hashed_key=False,
    global_permissions=["org.create"],
)
SEED_KEY_MODEL = ApiKey(id=101, name="ci", key=SECRET, mode="all", user_id=USER, created_at="2025-01-01T00:00:00+00:00")
KEY_OF_2025_MODEL = ApiKey(
    id=101,
    name="ci",
    key=SECRET,
    mode="all",
    user_id=USER,
    created_at="2025-01-01T00:00:00+00:00",
    limited_to_apps=["com.example.app"],
    limited_to_orgs=[ORG],
)
FRESH_MODEL = ApiKey(
    id=101,
    name="ci",
    key=SECRET,
    user_id=USER,
    created_at="2026-07-20 10:00:00.484405+00",
    rbac_id=ORG,
    global_permissions=[],
)
BINDING = {"role_name": "org_member", "scope_type": "org", "org_id": ORG}
NEW_KEY = Sent(
    "POST",
    "/apikey",
    (("org_id", ORG), ("mode", "all")),
    {
        "name": "ci",
        "bindings": [BINDING],
        "org_id": ORG,
        "mode": "all",
        "expires_at": "2027-01-01T00:00:00Z",
        "hashed": False,
    },
)
KEYS = Sent("GET", "/apikey")
ONE_KEY = Sent("GET", "/apikey/101")
RENAME = Sent("PUT", "/apikey/101", body={"name": "ci", "expires_at": None})
REGENERATE = Sent("PUT", "/apikey/101", body={"regenerate": True})
REVOKE = Sent("DELETE", "/apikey/101")
REVOKE_BY_SECRET = Sent("DELETE", f"/apikey/{SECRET}")
UNKNOWN_KEY = Refusal(NotFound, "api_key_not_found", e1(404, "api_key_not_found"))
SEED_REFUSAL = Refusal(
    InvalidRequest, "cannot_delete_apikey_now", old({"error": "Cannot delete apikey now", "supabaseError": {"code": "1"}}, 400)
)
WRITES = "expiration_required expiration_exceeds_max invalid_expiration_date invalid_bindings invalid_global_permissions"

API_KEYS = (
    Row(
        "C4",
        "api_keys.list",
        "GET /apikey",
        lambda capgo: capgo.api_keys.list().all(),
        [KEY_MODEL],
        (
            one("2026-07", KEYS, said([KEY])),
            one("docs", KEYS, said({"data": [KEY]})),
            one("2025", KEYS, old([KEY_OF_2025]), found=[KEY_OF_2025_MODEL]),
            one("seed", KEYS, old([SEED_KEY]), found=[SEED_KEY_MODEL]),
        ),
        refusals((PermissionDenied, 401, "cannot_list_apikeys"), (ServerError, 500, "failed_to_list_apikeys")),
    ),
    Row(
        "C4",
        "api_keys.get",
        "GET /apikey/:id",
        lambda capgo: capgo.api_keys.get(101),
        KEY_MODEL,
        (
            one("2026-07", ONE_KEY, said(KEY)),
            one("2025", ONE_KEY, old(KEY_OF_2025), found=KEY_OF_2025_MODEL),
        ),
        refusals(
            (InvalidRequest, 400, "invalid_id_format"),
            (NotFound, 404, "failed_to_get_apikey"),
            (PermissionDenied, 401, "cannot_get_apikey"),
        ),
    ),
    Row(
        "C4",
        "api_keys.create",
        "POST /apikey",
        lambda capgo: capgo.api_keys.create(
            NewApiKey(
                name="ci",
                bindings=[Binding(role_name="org_member", scope_type="org", org_id=ORG)],
                org_id=ORG,
                mode="all",
                expires_at="2027-01-01T00:00:00Z",
                hashed=False,
            )
        ),
        FRESH_MODEL,
        (
            one("2026-07", NEW_KEY, said(FRESH)),
            one("docs", NEW_KEY, said({"apikey": FRESH})),
            one("2025", NEW_KEY, old(KEY_OF_2025), found=KEY_OF_2025_MODEL),
            one("seed", NEW_KEY, old({"apikey": SEED_KEY}), found=SEED_KEY_MODEL),
        ),
        (
            *refusals(
                (NeedsUserSession, 400, "cannot_create_apikey"),
                (InvalidRequest, 400, f"name_is_required bindings_required binding_creation_failed binding_failed {WRITES}"),
                (PermissionDenied, 403, "forbidden_binding binding_failed"),
                (NotFound, 404, "binding_failed"),
                (Conflict, 409, "apikey_missing_rbac_bindings duplicate_binding"),
            ),
            Refusal(InvalidRequest, "mode_is_required", old({"error": "Mode is required"}, 400)),
        ),
    ),
    Row(
        "C4",
        "api_keys.update",
        "PUT /apikey/:id",
        lambda capgo: capgo.api_keys.update(101, ApiKeySettings(name="ci", expires_at=None)),
        KEY_MODEL,
        (
            one("2026-07", RENAME, said(KEY)),
            one("2025", RENAME, old(KEY_OF_2025), found=KEY_OF_2025_MODEL),
        ),
        refusals(
            (
                InvalidRequest,
                400,
                f"invalid_json_parse_body no_valid_fields_provided_for_update api_key_id_required invalid_id_format {WRITES}",
            ),
            (PermissionDenied, 401, "cannot_update_apikey"),
            (PermissionDenied, 403, "forbidden_binding"),
            (NotFound, 404, "api_key_not_found_or_access_denied"),
            (Conflict, 409, "apikey_missing_rbac_bindings duplicate_binding"),
        ),
    ),
    Row(
        "C4",
        "api_keys.regenerate",
        "PUT /apikey/:id",
        lambda capgo: capgo.api_keys.regenerate(101),
        FRESH_MODEL,
        (
            one("2026-07", REGENERATE, said(FRESH)),
            one("2025", REGENERATE, old(KEY_OF_2025), found=KEY_OF_2025_MODEL),
        ),
        refusals(
            (PermissionDenied, 401, "cannot_update_apikey"),
            (NotFound, 404, "api_key_not_found_or_access_denied"),
        ),
    ),
    Row(
        "C4",
        "api_keys.delete",
        "DELETE /apikey/:id",
        lambda capgo: capgo.api_keys.delete(101),
        None,
        (
            one("2026-07", REVOKE, said()),
            one("docs", REVOKE, said({"success": True})),
        ),
        (
            *refusals(
                (PermissionDenied, 401, "cannot_delete_apikey"),
                (InvalidRequest, 400, "invalid_id_format"),
                (ServerError, 500, "failed_to_delete_apikey"),
            ),
            UNKNOWN_KEY,
            SEED_REFUSAL,
        ),
    ),
    Row(
        "C4",
        "api_keys.delete_by_secret",
        "DELETE /apikey/:key",
        lambda capgo: capgo.api_keys.delete_by_secret(SECRET),
        None,
        (
            one("2026-07", REVOKE_BY_SECRET, said()),
            one("seed", REVOKE_BY_SECRET, old({"success": True})),
        ),
        (*refusals((PermissionDenied, 401, "cannot_delete_apikey")), UNKNOWN_KEY, SEED_REFUSAL),
    ),
)

ROWS = (*ORGANIZATIONS, *MEMBERS, *AUDIT_LOG, *API_KEYS)
