-- Limits say when their first period began, and name their fallback as the program reads it.

-- +goose Up

select set_config('tiergate.actor', 'tiergate migrate', true),
  set_config('tiergate.reason', 'a fallback has one spelling', true);
update limits set on_unavailable = case
    when ltrim(substring(on_unavailable from '\d+'), '0') = '' then 'deny'
    else 'allowUpTo(' || ltrim(substring(on_unavailable from '\d+'), '0') || ')' end
  where on_unavailable ~ '^allowUpTo\(0';
set constraints all immediate; -- a table with events that are not done yet cannot be altered

-- What the clock on the wall showed: a day, or a day and a time, that there is.
-- +goose StatementBegin
create function is_anchor(s text) returns boolean
  language sql immutable parallel safe
as $$
  select case when s ~ '^(?!0000)\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(T([01]\d|2[0-3]):[0-5]\d:[0-5]\d)?$'
    then substr(s, 9, 2)::int <= extract(day from make_date(substr(s, 1, 4)::int, substr(s, 6, 2)::int, 1) + interval '1 month - 1 day')
    else false end
$$;
-- +goose StatementEnd

alter table limits
  add column anchor text not null default '',
  add constraint limits_anchor_check check (anchor = '' or (kind = 'quota' and period <> 'lifetime' and is_anchor(anchor))),
  drop constraint limits_on_unavailable_check,
  add constraint limits_on_unavailable_check check (case
    when on_unavailable ~ '^allowUpTo\([1-9]\d{0,15}\)$'
      then substring(on_unavailable from '\d+')::bigint <= 9007199254740992
    else on_unavailable in ('', 'deny', 'allow') end);

-- Rows that were captured before have no anchor in their image, which is as good as "".
-- +goose StatementBegin
create or replace function image(t limits) returns text language sql stable parallel safe as $$
  select json_build_object('id', t.id, 'key', t.key, 'feature', t.feature, 'kind', t.kind, 'scope', t.scope,
    'class', t.class, 'period', t.period, 'zone', t.zone, 'anchor', t.anchor, 'amounts', t.amounts, 'bursts', t.bursts, 'cost', t.cost,
    'onUnavailable', t.on_unavailable, 'version', t.version, 'createdAt', t.created_at, 'updatedAt', t.updated_at)::text
$$;
-- +goose StatementEnd
