package flagd_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tiergate/tiergate/internal/flagd"
)

// What is owned stays as it is when the memory of the document is used for something else.
func TestOwn_shares_nothing_with_the_document(t *testing.T) {
	const text = `{"flags":{"a":{"state":"ENABLED","variants":{"on":{"x":[1,"two"]},"off":{}},"defaultVariant":"on","targeting":{"if":[true,"on"]},"metadata":{"owner":"web"}}},` +
		`"$evaluators":{"staff":{"in":["@example.com",{"var":"email"}]}},"metadata":{"version":"1"}}`
	data := []byte(text)
	file, err := flagd.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	want, err := flagd.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	flag, set := flagd.Own(&file.Flags[0]), flagd.Own(&file.Sets[0])
	for i := range data {
		data[i] = ' '
	}
	if diff := cmp.Diff(any(&want.Flags[0]), flag); diff != "" {
		t.Errorf("the flag (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(any(&want.Sets[0]), set); diff != "" {
		t.Errorf("the set (-want +got):\n%s", diff)
	}
	if got := flagd.Own("text"); got != "text" {
		t.Errorf("something else is %v", got)
	}
}
