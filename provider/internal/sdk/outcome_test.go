package sdk_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/open-feature/go-sdk/openfeature"

	"github.com/tiergate/tiergate"
	"github.com/tiergate/tiergate/provider/internal/sdk"
)

func of(value string) sdk.Outcome {
	o := sdk.Outcome{Value: json.RawMessage(value)}
	o.Variant, o.Reason = "v", openfeature.StaticReason
	o.FlagMetadata = openfeature.FlagMetadata{"tier": "pro"}
	return o
}

// result is what a caller sees of a resolution: the value, and the code of its error.
func result[T any](d openfeature.GenericResolutionDetail[T]) [3]any {
	r := d.ResolutionDetail()
	return [3]any{d.Value, string(r.ErrorCode), string(r.Reason)}
}

const big = `9007199254740993` // no float64

// Each type takes its own values; all others are the code default and a mismatch.
func TestOutcome_types(t *testing.T) {
	mismatch := func(standard any) [3]any { return [3]any{standard, "TYPE_MISMATCH", "ERROR"} }
	fine := func(v any) [3]any { return [3]any{v, "", "STATIC"} }
	for _, tc := range []struct {
		value                               string
		asBool, asString, asInt, asFloat, o [3]any
	}{
		{`true`, fine(true), mismatch("d"), mismatch(int64(7)), mismatch(7.5), mismatch("d")},
		{`false`, fine(false), mismatch("d"), mismatch(int64(7)), mismatch(7.5), mismatch("d")},
		{`"a"`, mismatch(true), fine("a"), mismatch(int64(7)), mismatch(7.5), mismatch("d")},
		{`"a\u00e9\n\"\ud83d\ude00"`, mismatch(true), fine("aé\n\"😀"), mismatch(int64(7)), mismatch(7.5), mismatch("d")},
		{`""`, mismatch(true), fine(""), mismatch(int64(7)), mismatch(7.5), mismatch("d")},
		{`"10"`, mismatch(true), fine("10"), mismatch(int64(7)), mismatch(7.5), mismatch("d")},
		{`10`, mismatch(true), mismatch("d"), fine(int64(10)), fine(10.0), mismatch("d")},
		{`10.0`, mismatch(true), mismatch("d"), fine(int64(10)), fine(10.0), mismatch("d")},
		{`1e3`, mismatch(true), mismatch("d"), fine(int64(1000)), fine(1000.0), mismatch("d")},
		{`-0.5`, mismatch(true), mismatch("d"), mismatch(int64(7)), fine(-0.5), mismatch("d")},
		{big, mismatch(true), mismatch("d"), fine(int64(9007199254740993)), fine(9007199254740992.0), mismatch("d")},
		{`9223372036854775807`, mismatch(true), mismatch("d"), fine(int64(1<<63 - 1)), fine(float64(1 << 63)), mismatch("d")},
		{`9223372036854775808`, mismatch(true), mismatch("d"), mismatch(int64(7)), fine(float64(1 << 63)), mismatch("d")},
		{`-9223372036854775808`, mismatch(true), mismatch("d"), fine(int64(-1 << 63)), fine(float64(-1 << 63)), mismatch("d")},
		{`1e999`, mismatch(true), mismatch("d"), mismatch(int64(7)), mismatch(7.5), mismatch("d")},
		{`{"a":[1,"b"]}`, mismatch(true), mismatch("d"), mismatch(int64(7)), mismatch(7.5), fine(map[string]any{"a": []any{1.0, "b"}})},
	} {
		o := of(tc.value)
		for as, got := range map[string][2][3]any{
			"boolean": {result(sdk.Bool(o, true)), tc.asBool},
			"string":  {result(sdk.String(o, "d")), tc.asString},
			"int":     {result(sdk.Int(o, 7)), tc.asInt},
			"float":   {result(sdk.Float(o, 7.5)), tc.asFloat},
			"object":  {result(sdk.Object(o, "d")), tc.o},
		} {
			if as == "boolean" && tc.value == "false" && got[0][0] != false {
				t.Errorf("false is read as %v", got[0])
			}
			if diff := cmp.Diff(got[1], got[0]); diff != "" {
				t.Errorf("%s as %s mismatch (-want +got):\n%s", tc.value, as, diff)
			}
		}
	}
}

// A whole number is read digit by digit, however it is written: neither is a digit changed nor a
// fraction rounded away.
func TestInt_reads_every_digit(t *testing.T) {
	const refused = -7
	for value, want := range map[string]int64{
		"9007199254740993.0": 9007199254740993, "9.007199254740993e15": 9007199254740993, "90071992547409930e-1": 9007199254740993,
		"-9007199254740993.000": -9007199254740993, "9223372036854775807.0": 1<<63 - 1, "92233720368547758.07E+2": 1<<63 - 1,
		"-9223372036854775808.0": -1 << 63, "-922337203685477580.8e1": -1 << 63, "0.001e3": 1, "1e18": 1e18, "120e-1": 12, "10.0": 10,
		"0.0": 0, "-0": 0, "-0.0e5": 0, "0e99999999999999999999": 0, "0.000e-99999999999999999999": 0,

		"0.99999999999999999999": refused, "9007199254740992.5": refused, "1.00000000000000000001": refused, "1e-1": refused,
		"9223372036854775807.5": refused, "9223372036854775808.0": refused, "-9223372036854775809.0": refused, "1e19": refused,
		"1e99999999999999999999": refused, "1e-99999999999999999999": refused, "10e9223372036854775807": refused, "0.1e-9223372036854775808": refused,
	} {
		if got := sdk.Int(of(value), refused); got.Value != want || (got.Error() != nil) != (want == refused) {
			t.Errorf("%s is read as %d, %v", value, got.Value, got.Error())
		}
	}
}

// Without a value the caller's own default applies, for the reason that there is none, and it is no error.
func TestOutcome_code_default(t *testing.T) {
	for _, reason := range []openfeature.Reason{openfeature.DefaultReason, openfeature.DisabledReason} {
		o := of("")
		o.Value, o.Reason, o.Variant = nil, reason, ""
		want := func(v any) [3]any { return [3]any{v, "", string(reason)} }
		for _, got := range [][2][3]any{
			{result(sdk.Bool(o, true)), want(true)},
			{result(sdk.String(o, "d")), want("d")},
			{result(sdk.Int(o, 7)), want(int64(7))},
			{result(sdk.Float(o, 7.5)), want(7.5)},
			{result(sdk.Object(o, []int{1})), want([]int{1})},
		} {
			if diff := cmp.Diff(got[1], got[0]); diff != "" {
				t.Errorf("mismatch (-want +got):\n%s", diff)
			}
		}
	}
}

// An error has its code and what is known of the flag, and the caller's default.
func TestOutcome_errors(t *testing.T) {
	for _, code := range []tiergate.ErrorCode{
		tiergate.FlagNotFound, tiergate.ParseError, tiergate.TypeMismatch, tiergate.TargetingKeyMissing,
		tiergate.InvalidContext, tiergate.ProviderNotReady, tiergate.General,
	} {
		o := of("true")
		o.Fail(code, "so it is")
		d := sdk.Bool(o, true)
		r := d.ResolutionDetail()
		if !d.Value || string(r.ErrorCode) != string(code) || r.ErrorMessage != "so it is" || r.Reason != openfeature.ErrorReason ||
			r.Variant != "" || r.FlagMetadata["tier"] != "pro" || !o.Erred() {
			t.Errorf("%s is %+v", code, d)
		}
	}
	if r := sdk.Bool(sdk.Failed("NEW_CODE", "x"), false).ResolutionDetail(); r.ErrorCode != openfeature.GeneralCode {
		t.Errorf("an unknown code is %s", r.ErrorCode)
	}
}

// Two callers who are given an object do not share it.
func TestOutcome_objects_are_the_callers_own(t *testing.T) {
	o := of(`{"a":{"b":1}}`)
	first := sdk.Object(o, nil).Value.(map[string]any)
	first["a"].(map[string]any)["b"] = "spoilt"
	if second := sdk.Object(o, nil).Value.(map[string]any); second["a"].(map[string]any)["b"] != 1.0 {
		t.Errorf("the second caller sees %v", second)
	}
}

// Two callers who are told of the same answer do not share what they are told beside it.
func TestOutcome_metadata_are_the_callers_own(t *testing.T) {
	o := of("true")
	sdk.Bool(o, false).FlagMetadata["tier"] = "spoilt"
	if second := sdk.Bool(o, false); second.FlagMetadata["tier"] != "pro" {
		t.Errorf("the second caller sees %v", second.FlagMetadata)
	}
}

// To read a boolean, a number or a plain string allocates the caller's own metadata, which are two
// pieces, and nothing else.
func TestOutcome_allocations(t *testing.T) {
	yes, number, text := of("true"), of("10"), of(`"`+strings.Repeat("a", 40)+`"`)
	read := func() {
		if !sdk.Bool(yes, false).Value || sdk.Int(number, 0).Value != 10 || sdk.Float(number, 0).Value != 10 || len(sdk.String(text, "").Value) != 40 {
			t.Fatal("not what it says")
		}
	}
	if n := testing.AllocsPerRun(100, read); n > 4*2 {
		t.Errorf("reading four answers allocates %v times", n)
	}
	yes.FlagMetadata, number.FlagMetadata, text.FlagMetadata = nil, nil, nil
	if n := testing.AllocsPerRun(100, read); n > 0 {
		t.Errorf("without metadata reading allocates %v times", n)
	}
}
