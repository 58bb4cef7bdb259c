package decision

import "maps"

// Routes are the paths of the door below its prefix and their methods.
func Routes() map[string]string {
	all := map[string]string{}
	for path, e := range maps.All(endpoints) {
		all[prefix+path] = "post"
		if e.get || e.any {
			all[prefix+path] = "get"
		}
	}
	return all
}
