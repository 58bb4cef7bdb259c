package admin

import "github.com/tiergate/tiergate"

// Paging holds the parameters of every list. (It is exported because huma reads exported
// fields only.)
type Paging struct {
	PageSize  int    `query:"pageSize" minimum:"1" maximum:"500" default:"50" doc:"At most how many things"`
	PageToken string `query:"pageToken" maxLength:"1024" doc:"The nextPageToken of the page before"`
}

func (p Paging) page() tiergate.Page { return tiergate.Page{Size: p.PageSize, Token: p.PageToken} }

// A list is one page of things.
type list[T any] struct {
	Items         []T    `json:"items"`
	NextPageToken string `json:"nextPageToken,omitempty" doc:"Asks for the next page; absent at the end"`
}

type listed[T any] struct {
	Body list[T]
}

// listOf answers with a page, each thing turned by the given function.
func listOf[T, U any](items []T, next string, turn func(T) U) *listed[U] {
	out := list[U]{Items: make([]U, len(items)), NextPageToken: next}
	for i, item := range items {
		out.Items[i] = turn(item)
	}
	return &listed[U]{Body: out}
}

func same[T any](x T) T { return x }
