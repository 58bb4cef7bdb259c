package postgres

import (
	"encoding/base64"
	"encoding/json"

	"github.com/tiergate/tiergate"
)

// A cursor is the place after which a page begins: the values of the list's order in the
// last thing of the page before, empty at the beginning.
type cursor []string

const (
	defaultPageSize = 50
	maxPageSize     = 500
)

// readPage checks a page of the list called list, which is ordered by n texts.
func readPage(page tiergate.Page, list string, n int) (size int, after cursor, err error) {
	if page.Size < 0 || page.Size > maxPageSize {
		return 0, nil, tiergate.FieldErrorf("pageSize", "pageSize %d is not between 1 and %d", page.Size, maxPageSize)
	}
	size = page.Size
	if size == 0 {
		size = defaultPageSize
	}
	if page.Token == "" {
		return size, make(cursor, n), nil
	}
	bad := tiergate.FieldErrorf("pageToken", "the page token is not one of this list")
	text, err := base64.RawURLEncoding.DecodeString(page.Token)
	if err != nil || len(text) > 4096 {
		return 0, nil, bad
	}
	var parts []string
	if json.Unmarshal(text, &parts) != nil || len(parts) != n+1 || parts[0] != list {
		return 0, nil, bad
	}
	return size, cursor(parts[1:]), nil
}

// makeList cuts the one thing too many that was asked for, and makes the next token.
func makeList[T any](items []T, size int, list string, place func(*T) cursor) tiergate.List[T] {
	if len(items) <= size {
		return tiergate.List[T]{Items: items}
	}
	items = items[:size]
	text, err := json.Marshal(append(cursor{list}, place(&items[size-1])...))
	if err != nil {
		panic("tiergate: bug: a page token cannot be encoded: " + err.Error())
	}
	return tiergate.List[T]{Items: items, Next: base64.RawURLEncoding.EncodeToString(text)}
}
