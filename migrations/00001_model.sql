-- The words of the product as tables: users, tiers, limits, teams, members, keys, flags,
-- overrides, grants, policies.

-- +goose Up

-- A new id: UUID version 7 as text, so that ids grow with time.
-- +goose StatementBegin
create function new_id() returns text
  language sql volatile parallel safe
as $$
  select encode(
    set_bit(set_bit(
      overlay(uuid_send(gen_random_uuid())
        placing substring(int8send((extract(epoch from clock_timestamp()) * 1000)::bigint) from 3)
        from 1 for 6),
      52, 1), 53, 1),
    'hex')::uuid::text
$$;
-- +goose StatementEnd

-- Ids, keys and names: 1 to 256 bytes without control characters. (A membership's key
-- joins two ids with a line feed.)
-- +goose StatementBegin
create function is_name(s text) returns boolean
  language sql immutable parallel safe
as $$ select s <> '' and octet_length(s) <= 256 and s !~ '[[:cntrl:]]' $$;
-- +goose StatementEnd

-- Objects and arrays whose elements must be of one type, so that no row is stored that a
-- reader cannot read.
-- +goose StatementBegin
create function is_units(o jsonb, lowest bigint, nulls boolean) returns boolean
  language sql immutable parallel safe
as $$
  select case when jsonb_typeof(o) = 'object' then not exists (
    select from jsonb_each(o) e where not case jsonb_typeof(e.value)
      when 'number' then (e.value #>> '{}')::numeric between lowest and 9007199254740992
        and scale(trim_scale((e.value #>> '{}')::numeric)) = 0
      when 'null' then nulls
      else false end)
  else false end
$$;
create function is_texts(a jsonb) returns boolean
  language sql immutable parallel safe
as $$
  select case when jsonb_typeof(a) = 'array' then not exists (
    select from jsonb_array_elements(a) e where jsonb_typeof(e) <> 'string')
  else false end
$$;
create function is_plain_object(o jsonb) returns boolean
  language sql immutable parallel safe
as $$
  select case when jsonb_typeof(o) = 'object' then not exists (
    select from jsonb_each(o) e where jsonb_typeof(e.value) not in ('string', 'number', 'boolean'))
  else false end
$$;
create function is_text_object(o jsonb) returns boolean
  language sql immutable parallel safe
as $$
  select case when jsonb_typeof(o) = 'object' then not exists (
    select from jsonb_each(o) e where jsonb_typeof(e.value) <> 'string')
  else false end
$$;
-- +goose StatementEnd

-- An update that changes something makes the version one more; one that changes nothing
-- changes nothing.
-- +goose StatementBegin
create function keep_version() returns trigger
  language plpgsql
as $$
begin
  new.version := old.version;
  new.created_at := old.created_at;
  new.updated_at := old.updated_at;
  if new is distinct from old then
    new.version := old.version + 1;
    new.updated_at := now();
  end if;
  return new;
end
$$;
-- +goose StatementEnd

create table tiers (
  key        text collate "C" primary key check (is_name(key)),
  name       text not null check (name <> '' and octet_length(name) <= 256),
  rank       integer not null constraint tiers_rank_key unique deferrable initially immediate,
  version    bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create table users (
  id         text collate "C" primary key default new_id() check (is_name(id)),
  email      text check (octet_length(email) <= 320),
  name       text not null default '' check (octet_length(name) <= 256),
  tier       text collate "C" not null default 'free' references tiers (key) on update cascade,
  attributes jsonb not null default '{}' check (jsonb_typeof(attributes) = 'object'),
  version    bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create unique index users_email_key on users (lower(email)) where email is not null;

create table limits (
  id             text collate "C" primary key default new_id() check (is_name(id)),
  key            text collate "C" not null constraint limits_key_key unique check (is_name(key)),
  feature        text collate "C" not null check (is_name(feature)),
  kind           text not null check (kind in ('quota', 'rate', 'concurrency', 'gauge')),
  scope          text not null default 'team' check (scope in ('team', 'user')),
  class          text not null default '' check (class in ('', 'exact', 'local', 'leased')),
  period         text not null default '',
  zone           text not null default '' check (octet_length(zone) <= 64),
  amounts        jsonb not null default '{}' check (is_units(amounts, 0, true)),
  bursts         jsonb not null default '{}' check (is_units(bursts, 1, false)),
  cost           bigint not null default 0 check (cost between 0 and 9007199254740992),
  on_unavailable text not null default '' check (on_unavailable ~ '^(|deny|allow|allowUpTo\(\d{1,15}\))$'),
  version        bigint not null default 1,
  created_at     timestamptz not null default now(),
  updated_at     timestamptz not null default now(),
  constraint limits_period_check check (case kind
    when 'quota' then period in ('hour', 'day', 'week', 'month', 'year', 'lifetime')
    when 'rate' then period in ('second', 'minute')
    else period = '' end)
);
create index limits_feature on limits (feature, key);

create table teams (
  id         text collate "C" primary key default new_id() check (is_name(id)),
  name       text not null check (name <> '' and octet_length(name) <= 256),
  owner_id   text collate "C" not null references users (id) on update cascade,
  tier       text collate "C" not null default 'free' references tiers (key) on update cascade,
  status     text not null default 'active' check (status in ('active', 'suspended')),
  settings   jsonb not null default '{"maxMembers": 5, "allowedFeatures": []}',
  version    bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint teams_settings_check check (
    jsonb_typeof(settings) = 'object'
    and (not settings ? 'maxMembers' or is_units(jsonb_build_object('', settings -> 'maxMembers'), 0, false))
    and (not settings ? 'allowedFeatures' or is_texts(settings -> 'allowedFeatures')))
);
create index teams_owner on teams (owner_id);

create table team_members (
  team_id    text collate "C" not null references teams (id) on update cascade on delete cascade,
  user_id    text collate "C" not null references users (id) on update cascade on delete cascade,
  role       text not null default 'MEMBER' check (role in ('OWNER', 'ADMIN', 'MEMBER')),
  version    bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  primary key (team_id, user_id)
);
create index team_members_user on team_members (user_id);

-- Only a hash of a key's secret is ever stored.
create table team_api_keys (
  id         text collate "C" primary key check (is_name(id)),
  team_id    text collate "C" not null references teams (id) on update cascade on delete cascade,
  name       text not null default '' check (octet_length(name) <= 256),
  hash       text not null check (hash ~ '^[0-9a-f]{64}$'),
  scopes     text[] not null default '{}',
  sets       text[] not null default '{}',
  state      text not null default 'active' check (state in ('active', 'revoked')),
  expires_at timestamptz,
  version    bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);
create index team_api_keys_team on team_api_keys (team_id);

-- Revoked is final.
-- +goose StatementBegin
create function keep_revoked() returns trigger
  language plpgsql
as $$
begin
  raise exception 'API key % is revoked, and that is final', old.id
    using errcode = 'check_violation', constraint = 'team_api_keys_revoked_check', table = 'team_api_keys';
end
$$;
-- +goose StatementEnd
create trigger keep_revoked before update on team_api_keys
  for each row when (old.state = 'revoked' and new.state <> 'revoked') execute function keep_revoked();

create table flag_sets (
  name       text collate "C" primary key check (is_name(name)),
  fractional text not null default 'v2' check (fractional in ('v2')),
  evaluators jsonb not null default '{}' check (jsonb_typeof(evaluators) = 'object'),
  metadata   jsonb not null default '{}' check (is_plain_object(metadata)),
  version    bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now()
);

create table feature_flags (
  id              text collate "C" primary key default new_id() check (is_name(id)),
  "set"           text collate "C" not null default 'default' references flag_sets (name) on update cascade,
  name            text collate "C" not null check (is_name(name)),
  title           text not null default '' check (octet_length(title) <= 1024),
  description     text not null default '' check (octet_length(description) <= 65536),
  type            text not null default 'boolean' check (type in ('boolean', 'string', 'number', 'object')),
  enabled         boolean not null default false,
  variants        jsonb not null default '{"on": true, "off": false}',
  default_variant text not null default 'on',
  off_variant     text not null default 'off',
  rules           jsonb not null default '{"tiers": [], "percentage": 0}',
  metadata        jsonb not null default '{}' check (is_plain_object(metadata)),
  version         bigint not null default 1,
  created_at      timestamptz not null default now(),
  updated_at      timestamptz not null default now(),
  constraint feature_flags_name_key unique ("set", name),
  constraint feature_flags_variants_check check (
    jsonb_typeof(variants) = 'object' and variants <> '{}' and octet_length(variants::text) <= 524288),
  constraint feature_flags_default_variant_check check (default_variant = '' or variants ? default_variant),
  constraint feature_flags_off_variant_check check (off_variant = '' or variants ? off_variant),
  constraint feature_flags_rules_check check (
    jsonb_typeof(rules) = 'object' and octet_length(rules::text) <= 524288
    -- a key that is not known, such as "tier", would open the flag to everybody
    and rules - array['tiers', 'percentage', 'targeting'] = '{}'
    and (not rules ? 'tiers' or is_texts(rules -> 'tiers'))
    and case jsonb_typeof(rules -> 'percentage')
      when 'number' then (rules ->> 'percentage')::numeric between 0 and 100
      else not rules ? 'percentage' end)
);

create table overrides (
  id         text collate "C" primary key default new_id() check (is_name(id)),
  team_id    text collate "C" references teams (id) on update cascade on delete cascade,
  user_id    text collate "C" references users (id) on update cascade on delete cascade,
  limit_key  text collate "C" not null references limits (key) on update cascade,
  amount     bigint check (amount between 0 and 9007199254740992),
  expires_at timestamptz,
  version    bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint overrides_subject_check check (num_nonnulls(team_id, user_id) = 1)
);
create unique index overrides_team_key on overrides (team_id, limit_key) where team_id is not null;
create unique index overrides_user_key on overrides (user_id, limit_key) where user_id is not null;
create index overrides_limit on overrides (limit_key);

create table grants (
  id         text collate "C" primary key default new_id() check (is_name(id)),
  team_id    text collate "C" references teams (id) on update cascade on delete cascade,
  user_id    text collate "C" references users (id) on update cascade on delete cascade,
  limit_key  text collate "C" not null references limits (key) on update cascade,
  amount     bigint not null check (amount between 1 and 9007199254740992),
  priority   integer not null default 0,
  starts_at  timestamptz,
  expires_at timestamptz,
  version    bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  constraint grants_subject_check check (num_nonnulls(team_id, user_id) = 1)
);
create index grants_team on grants (team_id) where team_id is not null;
create index grants_user on grants (user_id) where user_id is not null;
create index grants_limit on grants (limit_key);

-- Published policies. The one with the highest version is in force; nothing is ever
-- changed or taken out, a roll-back publishes older text again.
create table policy_bundles (
  id         text collate "C" primary key default new_id() check (is_name(id)),
  version    bigint not null constraint policy_bundles_version_key unique,
  modules    jsonb not null check (is_text_object(modules) and octet_length(modules::text) <= 1048576),
  hash       text not null check (hash ~ '^[0-9a-f]{64}$'),
  admission  text not null check (admission <> ''),
  comment    text not null default '' check (octet_length(comment) <= 4096),
  created_by text not null default '',
  created_at timestamptz not null default now()
);

-- What a create with an idempotency key answered, so that it answers the same again.
create table idempotency_keys (
  caller      text not null,
  key         text not null check (key <> '' and octet_length(key) <= 256),
  fingerprint text not null,
  outcome     jsonb,
  resume      text,
  created_at  timestamptz not null default now(),
  primary key (caller, key)
);
create index idempotency_keys_age on idempotency_keys (created_at);

-- +goose StatementBegin
do $$
declare t text;
begin
  foreach t in array array['tiers', 'users', 'limits', 'teams', 'team_members', 'team_api_keys',
                           'flag_sets', 'feature_flags', 'overrides', 'grants'] loop
    execute format('create trigger keep_version before update on %I for each row execute function keep_version()', t);
  end loop;
end
$$;
-- +goose StatementEnd

-- Rows of tenants. The second wall between them: a session of the admin role sees
-- everything in scope "platform", one team's rows in scope "team:<id>", and else nothing.
-- The owner's functions and views are not subject to it.
-- +goose StatementBegin
create function in_scope(team text) returns boolean
  language sql stable parallel safe
as $$
  select coalesce(current_setting('tiergate.scope', true) = 'platform'
    or (team <> '' and current_setting('tiergate.scope', true) = 'team:' || team), false)
$$;
-- +goose StatementEnd

alter table teams enable row level security;
alter table team_members enable row level security;
alter table team_api_keys enable row level security;
alter table overrides enable row level security;
alter table grants enable row level security;
alter table users enable row level security;
create policy scope on teams using (in_scope(id));
create policy scope on team_members using (in_scope(team_id));
create policy scope on team_api_keys using (in_scope(team_id));
create policy scope on overrides using (in_scope(coalesce(team_id, '')));
create policy scope on grants using (in_scope(coalesce(team_id, '')));
create policy scope on users using (
  in_scope('') or exists (select from team_members m where m.user_id = users.id and in_scope(m.team_id)));
