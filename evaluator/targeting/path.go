package targeting

import "strings"

func hasDot(s string) bool { return strings.IndexByte(s, '.') >= 0 }

// splitPath splits a variable's path at its dots; a backslash takes a dot, a slash or a
// backslash as it is. A path of nothing but dots has as many empty names as dots.
func splitPath(path string) []string {
	if strings.Trim(path, ".") == "" {
		return make([]string, len(path))
	}
	if strings.IndexByte(path, '\\') < 0 {
		return strings.Split(path, ".")
	}
	var names []string
	var name []byte
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch {
		case c == '\\' && i+1 < len(path) && strings.IndexByte(`.\/`, path[i+1]) >= 0:
			i++
			name = append(name, path[i])
		case c == '.':
			names, name = append(names, string(name)), name[:0]
		default:
			name = append(name, c)
		}
	}
	return append(names, string(name))
}
