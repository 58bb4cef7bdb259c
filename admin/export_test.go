package admin

// A Line is a line of the table of routes, for tests.
type Line struct{ Route, Action string }

// Routes returns the table of routes by operation id.
func Routes() map[string]Line {
	lines := map[string]Line{}
	for id, r := range routes {
		lines[id] = Line{Route: r.method + " " + r.path, Action: r.action}
	}
	return lines
}

// CheckJSON lets tests at the strict reading of bodies.
var CheckJSON = checkJSON

// Merge lets tests at the merge patches.
var Merge = merge

// Codes returns every code that a problem can have.
func Codes() []string {
	var codes []string
	for code := range statuses {
		codes = append(codes, string(code))
	}
	for _, code := range transportCodes {
		codes = append(codes, code)
	}
	return codes
}
