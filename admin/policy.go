package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/tiergate/tiergate"
)

// A Verdict is what admission says about Rego modules.
type Verdict struct {
	// Admission names the rules under which they were admitted; "" means they were not.
	Admission string
	Hash      string // tiergate.ModulesHash of the modules, as admission saw them
	Problems  []Spot // what is wrong; not empty means that they were not admitted
}

func (v Verdict) admitted() bool { return v.Admission != "" && len(v.Problems) == 0 }

// A policyBody is what may be said about a policy.
type policyBody struct {
	Modules map[string]string `json:"modules" minProperties:"1" maxProperties:"64" doc:"Rego texts by path; a package in them replaces the built-in one of its name" example:"{\"access.rego\":\"package tiergate.access\\n…\"}"`
	Comment string            `json:"comment,omitempty" maxLength:"1000" doc:"What changes, for people"`
}

type checkBody struct {
	Modules map[string]string `json:"modules" minProperties:"1" maxProperties:"64" doc:"Rego texts by path"`
}

type rollbackBody struct {
	Version int64  `json:"version" minimum:"0" doc:"The version whose modules come back; 0 stands for none, which is the built-in policy"`
	Comment string `json:"comment,omitempty" maxLength:"1000" doc:"Why, for people; default: \"roll back to version n\""`
}

// A checkedPolicy is the outcome of a check.
type checkedPolicy struct {
	OK        bool   `json:"ok" doc:"true: this can be published"`
	Hash      string `json:"hash,omitempty"`
	Admission string `json:"admission,omitempty" doc:"The rules under which it was admitted"`
	Problems  []Spot `json:"problems"`
}

// A policySummary is a published policy without its texts.
type policySummary struct {
	ID        string    `json:"id"`
	Version   int64     `json:"version"`
	Files     []string  `json:"files" doc:"The paths of the modules"`
	Hash      string    `json:"hash"`
	Admission string    `json:"admission"`
	Comment   string    `json:"comment,omitempty"`
	CreatedBy string    `json:"createdBy,omitempty"`
	CreatedAt time.Time `json:"createdAt,omitzero"`
}

func summaryOf(b tiergate.PolicyBundle) policySummary {
	return policySummary{
		ID: b.ID, Version: b.Version, Files: append([]string{}, slices.Sorted(maps.Keys(b.Modules))...), Hash: b.Hash,
		Admission: b.Admission, Comment: b.Comment, CreatedBy: b.CreatedBy, CreatedAt: b.CreatedAt,
	}
}

func policyVersion(b tiergate.PolicyBundle) int64 { return b.Version }

type (
	currentPolicyInput struct {
		IfNoneMatch string `header:"If-None-Match" doc:"The ETag that you have: if it still holds the answer is 304"`
	}
	getPolicyInput struct {
		Version     int64  `path:"version" minimum:"0" doc:"0 is the built-in policy"`
		IfNoneMatch string `header:"If-None-Match" doc:"The ETag that you have: if it still holds the answer is 304"`
	}
	checkPolicyInput struct {
		Body checkBody
	}
	publishPolicyInput struct {
		Creating
		IfMatch string `header:"If-Match" doc:"The version in force that you have seen (\"0\": the built-in one): if another has been published since, the answer is 412"`
		Body    policyBody
	}
	rollbackInput struct {
		Creating
		IfMatch string `header:"If-Match" doc:"The version in force that you have seen: if another has been published since, the answer is 412"`
		Body    rollbackBody
	}
	checkOutput struct {
		Status int
		Body   checkedPolicy
	}
)

func (a *api) policyRoutes() {
	register(a, "currentPolicy", a.currentPolicy, conditional)
	register(a, "listPolicies", a.listPolicies)
	register(a, "getPolicy", a.getPolicy, conditional)
	register(a, "checkPolicy", a.checkPolicy)
	register(a, "publishPolicy", a.publishPolicy, created)
	register(a, "rollBackPolicy", a.rollBack, created)
}

// policyInForce returns the bundle in force, version 0 with the built-in modules when
// nothing is published.
func (a *api) policyInForce(ctx context.Context) (tiergate.PolicyBundle, error) {
	b, err := a.Policies.CurrentPolicy(ctx)
	if tiergate.CodeOf(err) == tiergate.NotFound {
		return a.builtinPolicy(), nil
	}
	return b, err
}

func (a *api) builtinPolicy() tiergate.PolicyBundle {
	return tiergate.PolicyBundle{
		ID: "builtin", Modules: a.BuiltinPolicy, Hash: tiergate.ModulesHash(a.BuiltinPolicy), Comment: "the built-in policy",
	}
}

func (a *api) policyAt(ctx context.Context, version int64) (tiergate.PolicyBundle, error) {
	if version == 0 {
		return a.builtinPolicy(), nil
	}
	return a.Policies.Policy(ctx, version)
}

func (a *api) currentPolicy(ctx context.Context, in *currentPolicyInput) (*single[tiergate.PolicyBundle], error) {
	b, err := a.policyInForce(ctx)
	if err != nil {
		return nil, err
	}
	return singleOf(b, b.Version, in.IfNoneMatch), nil
}

func (a *api) listPolicies(ctx context.Context, in *Paging) (*listed[policySummary], error) {
	page, err := a.Policies.Policies(ctx, in.page())
	if err != nil {
		return nil, err
	}
	return listOf(page.Items, page.Next, summaryOf), nil
}

func (a *api) getPolicy(ctx context.Context, in *getPolicyInput) (*single[tiergate.PolicyBundle], error) {
	b, err := a.policyAt(ctx, in.Version)
	if err != nil {
		return nil, err
	}
	return singleOf(b, b.Version, in.IfNoneMatch), nil
}

// verdict asks admission about modules.
func (a *api) verdict(ctx context.Context, modules map[string]string) (Verdict, error) {
	if a.CheckPolicy == nil {
		return Verdict{}, tiergate.Errorf(tiergate.Unavailable, "this server cannot check policies")
	}
	v, err := a.CheckPolicy(ctx, modules)
	if err == nil && v.admitted() && v.Hash != tiergate.ModulesHash(modules) {
		err = errors.New("admission saw other modules than were sent")
	}
	if err == nil && !v.admitted() && len(v.Problems) == 0 {
		err = errors.New("admission refused a policy and did not say why")
	}
	if err != nil || !v.admitted() {
		return v, err
	}
	return a.keepsTheKey(ctx, modules, v)
}

// keepsTheKey refuses modules under which an admin could not publish the next policy:
// nobody could take them back over this door.
func (a *api) keepsTheKey(ctx context.Context, modules map[string]string, v Verdict) (Verdict, error) {
	if a.AllowUnder == nil {
		return v, nil
	}
	caller := callOf(ctx).caller
	caller.Role = tiergate.PlatformAdmin
	action := routes["publishPolicy"].action
	ok, err := a.AllowUnder(ctx, modules, Question{Caller: caller, Action: action, Resource: Resource{Kind: "policies"}})
	if err == nil && !ok {
		v.Problems = []Spot{{Message: "data.tiergate.admin.allow would refuse " + action + " to admins: nobody could publish the next policy"}}
	}
	return v, err
}

func (a *api) checkPolicy(ctx context.Context, in *checkPolicyInput) (*checkOutput, error) {
	v, err := a.verdict(ctx, in.Body.Modules)
	if err != nil {
		return nil, err
	}
	return &checkOutput{Status: http.StatusOK, Body: checkedPolicy{
		OK: v.admitted(), Hash: v.Hash, Admission: v.Admission, Problems: append([]Spot{}, v.Problems...),
	}}, nil
}

func (a *api) publishPolicy(ctx context.Context, in *publishPolicyInput) (*changed[tiergate.PolicyBundle], error) {
	return a.publish(ctx, in.Creating, in.IfMatch, in.Body.Modules, in.Body.Comment)
}

// rollBack publishes older modules again. They are admitted anew: what was harmless under
// an older OPA need not be so now. Version 0 comes back as a bundle without modules, which
// lets the built-in policy be whatever the program brings.
func (a *api) rollBack(ctx context.Context, in *rollbackInput) (*changed[tiergate.PolicyBundle], error) {
	old := tiergate.PolicyBundle{Modules: map[string]string{}}
	if in.Body.Version != 0 {
		var err error
		if old, err = a.Policies.Policy(ctx, in.Body.Version); err != nil {
			return nil, err
		}
	}
	comment := in.Body.Comment
	if comment == "" {
		comment = "roll back to version " + strconv.FormatInt(in.Body.Version, 10)
	}
	return a.publish(ctx, in.Creating, in.IfMatch, old.Modules, comment)
}

// publish admits modules and appends them as the version in force.
func (a *api) publish(ctx context.Context, in Creating, ifMatch string, modules map[string]string, comment string) (*changed[tiergate.PolicyBundle], error) {
	w, err := in.write(ctx)
	if err != nil {
		return nil, err
	}
	if w.IfVersion, err = versionOf(ifMatch); err != nil {
		return nil, err
	}
	done, err := a.Policies.ReplayPolicy(ctx, w)
	if err == nil && !done.Replayed {
		done, err = a.publishAdmitted(ctx, tiergate.PolicyBundle{Modules: modules, Comment: comment, CreatedBy: w.Caller.ID}, w)
	}
	return made(ctx, a, done, err, policyVersion, same[tiergate.PolicyBundle], "/api/policies/versions/"+strconv.FormatInt(done.Thing.Version, 10))
}

func (a *api) publishAdmitted(ctx context.Context, b tiergate.PolicyBundle, w tiergate.Write) (tiergate.Written[tiergate.PolicyBundle], error) {
	v, err := a.verdict(ctx, b.Modules)
	if err == nil && !v.admitted() {
		err = refusedPolicy(v)
	}
	if err != nil {
		return tiergate.Written[tiergate.PolicyBundle]{}, err
	}
	b.Hash, b.Admission = v.Hash, v.Admission
	return a.Policies.PublishPolicy(ctx, b, w)
}

func refusedPolicy(v Verdict) error {
	first := v.Problems[0]
	place := ""
	if first.File != "" {
		place = fmt.Sprintf("%s:%d:%d: ", first.File, first.Row, first.Col)
	}
	p := newProblem(http.StatusUnprocessableEntity, string(tiergate.Invalid), "the policy is refused: "+place+first.Message)
	p.Problems = v.Problems
	return p
}
