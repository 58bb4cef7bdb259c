package syncer

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/parser"

	"github.com/tiergate/tiergate"
)

// Settings are what tiers.yaml or teams.yaml holds. The two files in testdata/folder have
// every key that there is, each with what it means and its default.
type settings struct {
	Tiers   []tiergate.Tier
	Limits  []tiergate.Limit
	Teams   []tiergate.Team
	Members []tiergate.Member
	Users   []tiergate.User
	Keys    []tiergate.Key
}

// The files as they are written. A key that is not here is an error.
type (
	tiersFile struct {
		Tiers  []tierEntry  `yaml:"tiers"`
		Limits []limitEntry `yaml:"limits"`
	}
	tierEntry struct {
		Key  string `yaml:"key"`
		Name string `yaml:"name"` // default: the key
		Rank int    `yaml:"rank"`
	}
	limitEntry struct {
		Key           string            `yaml:"key"`
		Feature       string            `yaml:"feature"` // default: the key
		Kind          string            `yaml:"kind"`
		Scope         string            `yaml:"scope"` // default: team
		Class         string            `yaml:"class"`
		Period        string            `yaml:"period"`
		Zone          string            `yaml:"zone"`
		Anchor        string            `yaml:"anchor"`
		Amounts       map[string]*int64 `yaml:"amounts"`
		Bursts        map[string]int64  `yaml:"bursts"`
		Cost          int64             `yaml:"cost"`
		OnUnavailable string            `yaml:"onUnavailable"`
	}

	teamsFile struct {
		Users []userEntry `yaml:"users"`
		Teams []teamEntry `yaml:"teams"`
		Keys  []keyEntry  `yaml:"keys"`
	}
	userEntry struct {
		ID         string         `yaml:"id"`
		Tier       string         `yaml:"tier"` // default: the lowest
		Attributes map[string]any `yaml:"attributes"`
	}
	teamEntry struct {
		ID       string        `yaml:"id"`
		Name     string        `yaml:"name"` // default: the id
		Owner    string        `yaml:"owner"`
		Tier     string        `yaml:"tier"`
		Status   string        `yaml:"status"` // default: active
		Settings settingsEntry `yaml:"settings"`
		Members  []memberEntry `yaml:"members"`
	}
	settingsEntry struct {
		MaxMembers      *int     `yaml:"maxMembers"` // default: 5
		AllowedFeatures []string `yaml:"allowedFeatures"`
	}
	memberEntry struct {
		User string        `yaml:"user"`
		Role tiergate.Role `yaml:"role"` // default: MEMBER
	}
	keyEntry struct {
		ID        string    `yaml:"id"`
		Team      string    `yaml:"team"`
		Hash      string    `yaml:"hash"`
		Scopes    []string  `yaml:"scopes"`
		Sets      []string  `yaml:"sets"`
		Revoked   bool      `yaml:"revoked"`
		ExpiresAt time.Time `yaml:"expiresAt"`
	}
)

// parseSettings reads tiers.yaml or teams.yaml as a whole; an error names the line.
func parseSettings(name string, data []byte) (*settings, error) {
	if strings.HasPrefix(name, "tiers") {
		return parseTiers(data)
	}
	return parseTeams(data)
}

func decodeYAML(data []byte, into any) error {
	if len(bytes.TrimSpace(data)) == 0 {
		return errors.New("the file is empty")
	}
	if err := yaml.UnmarshalWithOptions(data, into, yaml.Strict()); err != nil {
		return fmt.Errorf("%s", yaml.FormatError(err, false, false))
	}
	return nil
}

// entryError puts the line of an entry, such as "$.tiers[2]", before what is wrong with it.
func entryError(data []byte, path string, err error) error {
	where := strings.TrimPrefix(path, "$.")
	if doc, perr := parser.ParseBytes(data, 0); perr == nil {
		if p, perr := yaml.PathString(path); perr == nil {
			if node, perr := p.FilterFile(doc); perr == nil && node.GetToken() != nil {
				return fmt.Errorf("line %d: %s: %w", node.GetToken().Position.Line, where, err)
			}
		}
	}
	return fmt.Errorf("%s: %w", where, err)
}

func orElse[T comparable](v *T, standard T) {
	var zero T
	if *v == zero {
		*v = standard
	}
}

func parseTiers(data []byte) (*settings, error) {
	var f tiersFile
	if err := decodeYAML(data, &f); err != nil {
		return nil, err
	}
	if len(f.Tiers) == 0 || len(f.Tiers) > tiergate.MaxTiers {
		return nil, fmt.Errorf("there are 1 to %d tiers, not %d", tiergate.MaxTiers, len(f.Tiers))
	}
	s := &settings{}
	keys, ranks := map[string]bool{}, map[int]bool{}
	for i, e := range f.Tiers {
		orElse(&e.Name, e.Key)
		t := tiergate.Tier{Key: e.Key, Name: e.Name, Rank: e.Rank}
		err := t.Validate()
		switch {
		case err != nil:
		case keys[t.Key]:
			err = fmt.Errorf("the tier %q is there twice", t.Key)
		case ranks[t.Rank]:
			err = fmt.Errorf("the rank %d is there twice", t.Rank)
		}
		if err != nil {
			return nil, entryError(data, fmt.Sprintf("$.tiers[%d]", i), err)
		}
		keys[t.Key], ranks[t.Rank] = true, true
		s.Tiers = append(s.Tiers, t)
	}
	limits := map[string]bool{}
	for i, e := range f.Limits {
		l, err := e.limit(keys)
		if err == nil && limits[l.Key] {
			err = fmt.Errorf("the limit %q is there twice", l.Key)
		}
		if err != nil {
			return nil, entryError(data, fmt.Sprintf("$.limits[%d]", i), err)
		}
		limits[l.Key] = true
		s.Limits = append(s.Limits, l)
	}
	return s, nil
}

func (e limitEntry) limit(tiers map[string]bool) (tiergate.Limit, error) {
	orElse(&e.Feature, e.Key)
	orElse(&e.Scope, "team")
	l := tiergate.Limit{
		ID: e.Key, Key: e.Key, Feature: e.Feature, Kind: tiergate.LimitKind(e.Kind), Scope: e.Scope, Class: e.Class,
		Period: e.Period, Zone: e.Zone, Anchor: e.Anchor, Amounts: e.Amounts, Bursts: e.Bursts, Cost: e.Cost, OnUnavailable: e.OnUnavailable,
	}
	if l.Amounts == nil {
		l.Amounts = map[string]*int64{}
	}
	for tier := range l.Amounts {
		if !tiers[tier] {
			return l, fmt.Errorf("amounts has the tier %q, which there is not", tier)
		}
	}
	return l, l.Validate()
}

func parseTeams(data []byte) (*settings, error) {
	var f teamsFile
	if err := decodeYAML(data, &f); err != nil {
		return nil, err
	}
	s := &settings{}
	ids := map[string]bool{}
	for i, e := range f.Users {
		u, err := e.user()
		if err := firstOf(err, newID(ids, "user", e.ID)); err != nil {
			return nil, entryError(data, fmt.Sprintf("$.users[%d]", i), err)
		}
		s.Users = append(s.Users, u)
	}
	for i, e := range f.Teams {
		if err := firstOf(newID(ids, "team", e.ID), s.addTeam(e)); err != nil {
			return nil, entryError(data, fmt.Sprintf("$.teams[%d]", i), err)
		}
	}
	for i, e := range f.Keys {
		k, err := e.apiKey(ids)
		if err := firstOf(err, newID(ids, "key", e.ID)); err != nil {
			return nil, entryError(data, fmt.Sprintf("$.keys[%d]", i), err)
		}
		s.Keys = append(s.Keys, k)
	}
	return s, nil
}

func firstOf(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// newID holds an id against those that are there already.
func newID(ids map[string]bool, kind, id string) error {
	switch {
	case id == "" || len(id) > tiergate.MaxNameLength || strings.ContainsAny(id, "\n\r\x00"):
		return fmt.Errorf("the id %q is not one line of 1 to %d bytes", id, tiergate.MaxNameLength)
	case ids[kind+"\n"+id]:
		return fmt.Errorf("the %s %q is there twice", kind, id)
	}
	ids[kind+"\n"+id] = true
	return nil
}

func (e userEntry) user() (tiergate.User, error) {
	u := tiergate.User{ID: e.ID, Tier: e.Tier}
	if e.Attributes == nil {
		return u, nil
	}
	attributes, err := json.Marshal(e.Attributes)
	if err != nil {
		return u, fmt.Errorf("the attributes have no JSON form: %w", err)
	}
	u.Attributes = attributes
	return u, nil
}

func (s *settings) addTeam(e teamEntry) error {
	orElse(&e.Name, e.ID)
	orElse(&e.Status, "active")
	if e.Status != "active" && e.Status != "suspended" {
		return fmt.Errorf("status %q is neither active nor suspended", e.Status)
	}
	t := tiergate.Team{ID: e.ID, Name: e.Name, OwnerID: e.Owner, Tier: e.Tier, Status: e.Status}
	t.Settings = tiergate.TeamSettings{MaxMembers: 5, AllowedFeatures: e.Settings.AllowedFeatures}
	if e.Settings.MaxMembers != nil {
		t.Settings.MaxMembers = *e.Settings.MaxMembers
	}
	if t.Settings.AllowedFeatures == nil {
		t.Settings.AllowedFeatures = []string{}
	}
	seen := map[string]bool{}
	for _, m := range e.Members {
		orElse(&m.Role, tiergate.RoleMember)
		if !slices.Contains([]tiergate.Role{tiergate.RoleOwner, tiergate.RoleAdmin, tiergate.RoleMember}, m.Role) {
			return fmt.Errorf("the role %q of %q is none of OWNER, ADMIN, MEMBER", m.Role, m.User)
		}
		if err := newID(seen, "member", m.User); err != nil {
			return err
		}
		if m.Role == tiergate.RoleOwner && t.OwnerID == "" {
			t.OwnerID = m.User
		}
		s.Members = append(s.Members, tiergate.Member{TeamID: e.ID, UserID: m.User, Role: m.Role})
	}
	s.Teams = append(s.Teams, t)
	return nil
}

func (e keyEntry) apiKey(ids map[string]bool) (tiergate.Key, error) {
	k := tiergate.Key{
		ID: e.ID, TeamID: e.Team, Hash: e.Hash, Scopes: e.Scopes, Sets: e.Sets,
		State: tiergate.KeyActive, ExpiresAt: e.ExpiresAt,
	}
	if e.Revoked {
		k.State = tiergate.KeyRevoked
	}
	if !ids["team\n"+e.Team] {
		return k, fmt.Errorf("the team %q is not in this file", e.Team)
	}
	if len(e.Hash) != 64 || strings.Trim(e.Hash, "0123456789abcdef") != "" {
		return k, errors.New("the hash is not a SHA-256 in hex")
	}
	return k, nil
}
