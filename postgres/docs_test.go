package postgres_test

import (
	"os"
	"strings"
	"testing"

	"github.com/tiergate/tiergate/internal/demo"
	"github.com/tiergate/tiergate/postgres/pgtest"
)

// What the documentation tells people to type works, as the role that it names, and sees what it
// says.
func TestDocs_SQL_works(t *testing.T) {
	url := pgtest.New(t)
	if _, err := open(t, url).SeedDemo(t.Context(), demo.Data()); err != nil {
		t.Fatal(err)
	}
	for _, page := range []string{"usage.md", "admin-api.md"} {
		text, err := os.ReadFile("../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		conn := pgtest.Connect(t, pgtest.As(t, url, "tiergate_admin"))
		if _, err := conn.Exec(t.Context(), `set tiergate.scope = 'platform'`); err != nil {
			t.Fatal(err)
		}
		blocks := strings.Split(string(text), "```sql\n")[1:]
		if len(blocks) == 0 {
			t.Errorf("%s has no SQL", page)
		}
		for _, block := range blocks {
			sql, _, _ := strings.Cut(block, "```")
			sql = strings.Replace(sql, "'HASH'", "repeat('0', 64)", 1)
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Errorf("%s: %v in\n%s", page, err, sql)
			}
		}
	}
	var overrides, grants, keys int
	var actor, reason string
	err := pgtest.Connect(t, url).QueryRow(t.Context(), `select (select count(*) from overrides where amount = 500), (select count(*) from grants where amount = 100),
		(select count(*) from team_api_keys where name = 'build server'), actor, reason from revisions order by rev desc limit 1`).Scan(&overrides, &grants, &keys, &actor, &reason)
	if err != nil || overrides != 1 || grants != 1 || keys != 1 || actor != "dora" || reason != "trial extended" {
		t.Errorf("%d overrides, %d grants and %d keys were made, by %q because of %q (%v)", overrides, grants, keys, actor, reason, err)
	}
}
