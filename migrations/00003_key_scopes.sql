-- What a team's API key may be used for is said by its scopes: a key without any may be
-- used for nothing. Keys that said nothing until now were for evaluation, and go on so.

-- +goose Up

select set_config('tiergate.actor', 'tiergate migrate', true),
  set_config('tiergate.reason', 'keys say what they may be used for', true);
update team_api_keys set scopes = '{evaluate}' where scopes = '{}';
set constraints all immediate; -- a table with events that are not done yet cannot be altered

alter table team_api_keys alter column scopes set default '{evaluate}';
alter table team_api_keys add constraint team_api_keys_scopes_check
  check (array_position(scopes, null) is null and cardinality(scopes) <= 64);
