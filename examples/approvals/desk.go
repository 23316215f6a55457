package main

import (
	"bytes"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode"

	"github.com/connic-go/connic"
	"github.com/connic-go/connic/connector"
)

//go:embed page.html style.css
var files embed.FS

var page = template.Must(template.New("page.html").Funcs(template.FuncMap{"arguments": arguments, "visible": visible}).ParseFS(files, "page.html"))

// A desk shows what waits for a decision, and decides.
type desk struct {
	client *connic.Client
	store  *store
	log    *slog.Logger
}

// handler returns the pages, and the receiver of notices if there is a secret.
func (d *desk) handler(secret connector.Secret) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", d.list)
	mux.HandleFunc("GET /style.css", func(w http.ResponseWriter, r *http.Request) { http.ServeFileFS(w, r, files, "style.css") })
	mux.HandleFunc("POST /approvals/{id}", d.decide)
	if secret != "" {
		mux.Handle("POST /hooks/connic", &connector.Receiver{Handle: d.notice, Secrets: []connector.Secret{secret}, OnError: func(_ *http.Request, err error) {
			d.log.Warn("a delivery was refused", "err", err)
		}})
	}
	// A page of another site cannot make a browser decide.
	protected := http.NewCrossOriginProtection().Handler(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		protected.ServeHTTP(w, r)
	})
}

// notice records the approval that a delivery tells of.
func (d *desk) notice(_ context.Context, delivery connector.Delivery) error {
	if delivery.Kind != connector.KindApproval {
		return nil
	}
	a := delivery.Approval()
	if a.ID == "" {
		return connector.Permanent(errors.New("the notice names no approval"))
	}
	d.log.Info("notified", "approval", *a)
	return d.store.put(a)
}

// follow records what the service lists as pending: what no notice told of, and
// what came while this program did not run. It also asks what became of those
// that are not pending any more.
func (d *desk) follow(ctx context.Context) error {
	for _, i := range d.store.all() {
		if i.Pending() {
			d.refresh(ctx, i.Approval.ID)
		}
	}
	for a, err := range d.client.Approvals.Follow(ctx, nil) {
		if err != nil {
			return err
		}
		if err := d.store.put(a); err != nil {
			return err
		}
	}
	return nil
}

// refresh asks the service for an approval.
func (d *desk) refresh(ctx context.Context, id string) {
	a, err := d.client.Approvals.Get(ctx, id)
	if err == nil {
		err = d.store.put(a)
	}
	if err != nil {
		d.log.Warn("an approval cannot be read", "approval", id, "err", err)
	}
}

// A view is what the page shows.
type view struct {
	Items   []item
	Pending int
	Name    string // of the person, as last entered
	Message string
	Failed  bool
}

func (d *desk) list(w http.ResponseWriter, r *http.Request) {
	for _, i := range d.store.all() { // the time of some is over
		if i.Pending() && !i.Approval.ExpiresAt.IsZero() && time.Now().After(i.Approval.ExpiresAt) {
			d.refresh(r.Context(), i.Approval.ID)
		}
	}
	d.show(w, r, http.StatusOK, view{Message: r.URL.Query().Get("done")})
}

func (d *desk) show(w http.ResponseWriter, r *http.Request, status int, v view) {
	v.Items = d.store.all()
	for _, i := range v.Items {
		if i.Pending() {
			v.Pending++
		}
	}
	if c, err := r.Cookie("name"); err == nil && v.Name == "" {
		v.Name, _ = url.QueryUnescape(c.Value)
	}
	var b bytes.Buffer
	if err := page.Execute(&b, v); err != nil {
		d.log.Error("the page cannot be made", "err", err)
		http.Error(w, "the page cannot be made", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}

// decide sends the decision of a form.
func (d *desk) decide(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 256<<10)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "the form cannot be read", http.StatusBadRequest)
		return
	}
	id, by := r.PathValue("id"), strings.TrimSpace(r.PostForm.Get("name"))
	refuse := func(status int, message string) {
		d.show(w, r, status, view{Name: by, Message: message, Failed: true})
	}
	i, known := d.store.get(id)
	verb := r.PostForm.Get("decision")
	switch {
	case !known:
		refuse(http.StatusNotFound, "There is no such approval.")
		return
	case by == "":
		refuse(http.StatusUnprocessableEntity, "Please enter your name.")
		return
	case verb != "approve" && verb != "reject":
		refuse(http.StatusUnprocessableEntity, "Please approve or reject.")
		return
	}
	http.SetCookie(w, &http.Cookie{Name: "name", Value: url.QueryEscape(by), Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: 1 << 25})
	decision := connic.Decision{Approve: verb == "approve", Reason: by + ": " + r.PostForm.Get("reason")}
	if decision.Approve {
		decision.Response = response(i.Approval, r.PostForm)
	}
	if err := i.Approval.Check(decision); err != nil {
		refuse(http.StatusUnprocessableEntity, "Please answer: the response must not be empty, and have at most 16,384 characters.")
		return
	}
	if other := d.store.claim(id, by); other != "" {
		refuse(http.StatusConflict, other+" is deciding this at the moment.")
		return
	}
	defer d.store.release(id)
	// A person who closes the page has decided nevertheless.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), time.Minute)
	defer cancel()
	a, err := d.client.Approvals.Decide(ctx, id, decision)
	var decided *connic.DecidedError
	switch {
	case errors.As(err, &decided):
		if err := d.store.put(decided.Approval); err != nil {
			d.log.Error("the state cannot be saved", "err", err)
		}
		i, _ = d.store.get(id)
		refuse(http.StatusConflict, "Too late: "+ended(i)+".")
	case err != nil:
		d.log.Error("a decision failed", "approval", id, "err", err)
		refuse(http.StatusBadGateway, "That did not work: "+err.Error())
	default:
		if err := d.store.record(a, by); err != nil {
			d.log.Error("the state cannot be saved", "err", err)
		}
		d.log.Info("decided", "approval", *a, "decision", decision, "by", by)
		http.Redirect(w, r, "/?done="+url.QueryEscape(string(a.Status)), http.StatusSeeOther)
	}
}

// response returns the answers to the inputs of an approval as one text.
func response(a *connic.Approval, form url.Values) string {
	answers := form["input"]
	if len(a.Inputs) <= 1 || len(answers) != len(a.Inputs) {
		return strings.Join(answers, "\n")
	}
	lines := make([]string, len(answers))
	for i, answer := range answers {
		if strings.TrimSpace(answer) == "" {
			return "" // all are asked for
		}
		lines[i] = a.Inputs[i].Label + ": " + answer
	}
	return strings.Join(lines, "\n")
}

// ended says how an approval ended.
func ended(i item) string {
	a := i.Approval
	switch by := i.By; {
	case a.Status == connic.ApprovalExpired:
		return "it has expired"
	case by != "":
		return by + " has " + string(a.Status) + " it"
	case a.DecidedBy.String() != "":
		return a.DecidedBy.String() + " has " + string(a.Status) + " it"
	}
	return "it was " + string(a.Status)
}

// Ended says how an approval ended, for the page.
func (i item) Ended() string { return ended(i) }

// arguments returns the arguments of a call for people.
func arguments(raw json.RawMessage) string {
	var b bytes.Buffer
	if json.Indent(&b, raw, "", "  ") != nil {
		return visible(string(raw))
	}
	return visible(b.String())
}

// visible writes characters that are not seen, or change the direction of text, as
// escapes: what is approved must be what is read.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '\n', r == '\t', unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, "\\u%04x", r)
		}
	}
	return b.String()
}
