package main

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"github.com/sealedge/sealedge/cluster/command"
	"github.com/sealedge/sealedge/edge/adminapi"
	"github.com/sealedge/sealedge/policy/bundle"
)

func changeCommand() *cli.Command {
	return &cli.Command{
		Name:  "change",
		Usage: "changes that take more than one person",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list changes, the oldest first", Action: changeList,
				Flags:       []cli.Flag{&cli.StringFlag{Name: "state", Usage: "only those in the `STATE`: pending, in-force, rejected, expired or outdated"}},
				Description: withExamples("", "sealctl change list", "sealctl change list --state pending"),
			},
			{
				Name: "show", Usage: "show what a change does and who agreed", ArgsUsage: "ID", Action: changeShow,
				Flags:       []cli.Flag{&cli.BoolFlag{Name: "proposed", Usage: "print the whole policy document that is proposed, instead"}},
				Description: withExamples("", "sealctl change show 7", "sealctl change show 7 --proposed > proposed.yaml"),
			},
			{
				Name: "approve", Usage: "agree to somebody else's change, with the signature of your key", ArgsUsage: "ID", Action: changeApprove,
				Flags: []cli.Flag{&cli.StringFlag{Name: "digest", Usage: "agree only if the change has this `DIGEST`, which you have from who proposed it"}},
				Description: withExamples("It takes your certificate: a token signs nothing. The signature goes into the audit chain, where it can be verified for ever.",
					"sealctl change approve 7", "sealctl change approve 7 --digest 5d0a... --yes"),
			},
			{
				Name: "reject", Usage: "end a change that waits; your own is withdrawn so", ArgsUsage: "ID", Action: changeReject,
				Flags:       []cli.Flag{&cli.StringFlag{Name: "reason", Usage: "why; it goes into the audit chain", Required: true}},
				Description: withExamples("", "sealctl change reject 7 --reason 'three days is too long'"),
			},
			{
				Name: "review", Usage: "say what you found of glass that somebody else broke", ArgsUsage: "ID", Action: changeReview,
				Flags:       []cli.Flag{&cli.StringFlag{Name: "says", Usage: "what you found; it goes into the audit chain", Required: true}},
				Description: withExamples("", "sealctl change review 9 --says 'the office did burn; the change was right and is taken back'"),
			},
		},
	}
}

func changeList(c *cli.Context) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	path := "/v1/changes"
	if s := c.String("state"); s != "" {
		path += "?state=" + url.QueryEscape(s)
	}
	list, err := all[adminapi.Change](c, path)
	if err != nil {
		return err
	}
	var rows [][]string
	for _, v := range list {
		rows = append(rows, []string{
			strconv.FormatUint(v.ID, 10), v.Kind, stateOf(v), v.ProposedBy, v.Proposed.Format(time.RFC3339),
			fmt.Sprintf("%d/%d", len(v.Approvals), v.Needed), strings.Join(v.Touches, ","), v.Reason,
		})
	}
	return show(c, list, []string{"ID", "KIND", "STATE", "BY", "PROPOSED", "APPROVALS", "TOUCHES", "REASON"}, rows)
}

func stateOf(v adminapi.Change) string {
	switch {
	case v.BreakGlass && v.ReviewedBy == "":
		return v.State + ", glass broken, not reviewed"
	case v.BreakGlass:
		return v.State + ", glass broken"
	}
	return v.State
}

// changeNamed finds the change that the command names.
func changeNamed(c *cli.Context, cl *client) (v adminapi.Change, err error) {
	a, err := arguments(c, "ID")
	if err != nil {
		return v, err
	}
	if _, err := strconv.ParseUint(a[0], 10, 64); err != nil {
		return v, usage(fmt.Sprintf("%q is no number of a change", a[0]))
	}
	return v, cl.call(c.Context, http.MethodGet, "/v1/changes/"+a[0], nil, &v)
}

func changeShow(c *cli.Context) error {
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	v, err := changeNamed(c, cl)
	if err != nil {
		return err
	}
	if c.Bool("proposed") {
		if v.Document == "" {
			return &hinted{exitConflict, fmt.Sprintf("change %d has no document: it is of %s, and %s", v.ID, v.Kind, stateOf(v)), "one that is in force is 'sealctl policy show --revision N'"}
		}
		fmt.Fprint(c.App.Writer, v.Document)
		return nil
	}
	if c.String("output") != "table" {
		return show(c, v, nil, nil)
	}
	printChange(c.App.Writer, v)
	return printSettings(c, cl, c.App.Writer, v)
}

// printSettings shows how the policy that a change proposes differs from the one that
// it was made on. Both are compared here, and not taken from whoever proposed it.
func printSettings(c *cli.Context, cl *client, w io.Writer, v adminapi.Change) error {
	if v.Document == "" {
		return nil
	}
	var base adminapi.Policy
	if err := cl.call(c.Context, http.MethodGet, fmt.Sprintf("/v1/policy/revisions/%d", v.PolicyRevision), nil, &base); err != nil {
		return fmt.Errorf("what the change is compared with: %w", err)
	}
	before, _, err := bundle.Parse(fmt.Sprintf("revision %d", base.Revision), []byte(base.Document))
	if err != nil {
		return fmt.Errorf("the policy that the change was made on: %w", err)
	}
	after, _, err := bundle.Parse("proposed", []byte(v.Document))
	if err != nil {
		return fmt.Errorf("the policy that is proposed: %w", err)
	}
	settings := bundle.Settings(before, after)
	for _, s := range settings {
		fmt.Fprintf(w, "  ~ %s\n", s)
	}
	if len(settings) == 0 {
		fmt.Fprintln(w, "  only comments or the order of keys differ")
	}
	return nil
}

func printChange(w io.Writer, v adminapi.Change) {
	at := func(t time.Time) string { return t.Format(time.RFC3339) }
	fmt.Fprintf(w, "change %d of %s, for revision %d: %s\n", v.ID, v.Kind, v.PolicyRevision, stateOf(v))
	if v.RollbackTo != 0 {
		fmt.Fprintf(w, "goes back to revision %d\n", v.RollbackTo)
	}
	fmt.Fprintf(w, "proposed by %s at %s: %s\n", v.ProposedBy, at(v.Proposed), orDash(v.Reason))
	fmt.Fprintf(w, "touches: %s; %s\n", orNothing(v.Touches), approvalsWords(v.Needed))
	printEffects(w, v.Effects)
	for _, d := range v.Devices {
		fmt.Fprintf(w, "device: %s\n", d)
	}
	fmt.Fprintf(w, "digest: %s\n", v.Digest)
	for _, a := range v.Approvals {
		fmt.Fprintf(w, "approved by %s at %s\n", a.By, at(a.At))
	}
	switch {
	case v.State == adminapi.ChangePending:
		fmt.Fprintf(w, "expires at %s\n", at(v.Expires))
	case v.Revision != 0:
		fmt.Fprintf(w, "in force as revision %d since %s\n", v.Revision, at(v.Ended))
	case v.EndReason != "":
		fmt.Fprintf(w, "ended by %s at %s: %s\n", v.EndedBy, at(v.Ended), v.EndReason)
	}
	switch {
	case v.ReviewedBy != "":
		fmt.Fprintf(w, "reviewed by %s at %s: %s\n", v.ReviewedBy, at(v.Reviewed), v.Review)
	case v.BreakGlass:
		fmt.Fprintf(w, "to be reviewed until %s\n", at(v.ReviewDue))
	}
}

func orDash(s string) string {
	if s == "" {
		return "no reason given"
	}
	return s
}

// actorOf is how the owner of a certificate stands in the audit chain.
func actorOf(cert tls.Certificate) (string, error) {
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		return "", err
	}
	for _, u := range leaf.URIs {
		if name := strings.TrimPrefix(u.Path, "/"); u.Scheme == "sealedge" && u.Host == "operator" && name != "" {
			return "operator:" + name, nil
		}
	}
	return "", errors.New("your certificate is no operator's: it has no URI such as sealedge://operator/li")
}

func changeApprove(c *cli.Context) error {
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	v, err := changeNamed(c, cl)
	if err != nil {
		return err
	}
	cert, err := cl.certificate()
	if err != nil {
		return err
	}
	actor, err := actorOf(cert)
	if err != nil {
		return &hinted{exitDenied, err.Error(), "have one issued"}
	}
	if v.State == adminapi.ChangeExpired {
		return &hinted{exitConflict, fmt.Sprintf("change %d expired at %s", v.ID, v.Expires.Format(time.RFC3339)), "what is still wanted has to be proposed again"}
	}
	if v.State != adminapi.ChangePending {
		return &hinted{exitConflict, fmt.Sprintf("change %d does not wait for approval: it is %s", v.ID, stateOf(v)), "see what became of it with 'sealctl change show'; what is still wanted has to be proposed again"}
	}
	// What is signed is what is shown: the digest is worked out of the document here.
	if v.Kind == adminapi.ChangeOfPolicy && adminapi.DocumentDigest(v.PolicyRevision, []byte(v.Document)) != v.Digest {
		return &hinted{exitVerification, fmt.Sprintf("change %d has another digest than its document: the node that answered does not tell the truth", v.ID), "approve nothing, and tell the others"}
	}
	if want := c.String("digest"); want != "" && want != v.Digest {
		return &hinted{exitConflict, fmt.Sprintf("change %d has the digest %s", v.ID, v.Digest), "it is not the change that you were told of; look at it with 'sealctl change show'"}
	}
	printChange(c.App.ErrWriter, v)
	if err := printSettings(c, cl, c.App.ErrWriter, v); err != nil {
		return err
	}
	if err := confirm(c, "agree in your name to change", strconv.FormatUint(v.ID, 10)); err != nil {
		return err
	}
	statement, err := v.Statement(actor)
	if err != nil {
		return err
	}
	key, ok := cert.PrivateKey.(crypto.Signer)
	if !ok {
		return &hinted{exitUsage, "your key can't sign", "use a key in a file that the context names"}
	}
	signature, err := command.SignApproval(rand.Reader, key, statement)
	if err != nil {
		return err
	}
	return decide(c, cl, v.ID, "approve", adminapi.Approve{Digest: v.Digest, Signature: base64.StdEncoding.EncodeToString(signature)})
}

// decide sends a word on a change and says what came of it.
func decide(c *cli.Context, cl *client, id uint64, verb string, body any) error {
	var out adminapi.Change
	if err := cl.call(c.Context, http.MethodPost, fmt.Sprintf("/v1/changes/%d/%s", id, verb), body, &out); err != nil {
		return err
	}
	switch {
	case out.State == adminapi.ChangeInForce && verb == "approve" && out.Revision != 0:
		fmt.Fprintf(c.App.ErrWriter, "change %d is in force: revision %d\n", out.ID, out.Revision)
	case verb == "review":
		fmt.Fprintf(c.App.ErrWriter, "change %d is reviewed\n", out.ID)
	default:
		fmt.Fprintf(c.App.ErrWriter, "change %d is %s\n", out.ID, out.State)
	}
	return nil
}

func changeReject(c *cli.Context) error {
	return wordOn(c, "reject", adminapi.Reason{Reason: c.String("reason")})
}

func changeReview(c *cli.Context) error {
	return wordOn(c, "review", adminapi.Review{Review: c.String("says")})
}

func wordOn(c *cli.Context, verb string, body any) error {
	cl, err := newClient(c)
	if err != nil {
		return err
	}
	v, err := changeNamed(c, cl)
	if err != nil {
		return err
	}
	return decide(c, cl, v.ID, verb, body)
}
