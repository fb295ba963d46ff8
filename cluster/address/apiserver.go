package address

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const (
	// serviceAccount is where a pod has the credentials of its ServiceAccount.
	serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"
	// requestTimeout bounds one request, so that an API server that went away is asked
	// anew, at another of its addresses perhaps.
	requestTimeout = 2 * time.Second
	// maxAnswer bounds what is read of an answer, in bytes. A slice has a few kB.
	maxAnswer = 1 << 20
)

// apiServer keeps one EndpointSlice. It is a store.
type apiServer struct {
	host, name string // of the server, and of the slice
	at         string // the slice's URL
	dir        string // of the credentials
	client     *http.Client
}

// inCluster is the API server of the cluster that this process is a pod of.
func inCluster(slice string) (*apiServer, error) {
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" || port == "" {
		return nil, errors.New("service is for a pod of Kubernetes, and KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT aren't set")
	}
	return newAPIServer(net.JoinHostPort(host, port), serviceAccount, slice, new(net.Dialer).DialContext)
}

func newAPIServer(host, dir, slice string, dial func(ctx context.Context, network, address string) (net.Conn, error)) (*apiServer, error) {
	k := &apiServer{host: host, name: slice, dir: dir}
	namespace, err := k.credential("namespace")
	if err != nil {
		return nil, err
	}
	for _, file := range []string{"token", "ca.crt"} {
		if _, err := k.credential(file); err != nil {
			return nil, err
		}
	}
	k.at = fmt.Sprintf("https://%s/apis/discovery.k8s.io/v1/namespaces/%s/endpointslices/%s", host, url.PathEscape(namespace), url.PathEscape(slice))
	k.client = &http.Client{
		Timeout: requestTimeout,
		// Nobody else is to get the token.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			IdleConnTimeout: time.Minute, MaxIdleConns: 1,
			DialTLSContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				return k.dial(ctx, dial, network, address)
			},
		},
	}
	return k, nil
}

// credential reads one. They are read each time, as the platform replaces them.
func (k *apiServer) credential(file string) (string, error) {
	b, err := os.ReadFile(filepath.Join(k.dir, file))
	if err == nil && len(bytes.TrimSpace(b)) == 0 {
		err = fmt.Errorf("%s is empty", filepath.Join(k.dir, file))
	}
	if err != nil {
		return "", fmt.Errorf("credentials of the ServiceAccount: %w; the pod must have automountServiceAccountToken", err)
	}
	return string(bytes.TrimSpace(b)), nil
}

func (k *apiServer) dial(ctx context.Context, dial func(context.Context, string, string) (net.Conn, error), network, address string) (net.Conn, error) {
	ca, err := k.credential("ca.crt")
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM([]byte(ca)) {
		return nil, fmt.Errorf("%s has no certificate", filepath.Join(k.dir, "ca.crt"))
	}
	name, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	// Giving up a request doesn't end the dial that it began: the transport keeps that for
	// the next one. A server that hangs would have one more for each.
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	c, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	secured := tls.Client(c, &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12})
	if err := secured.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return secured, nil
}

func (k *apiServer) get(ctx context.Context) (endpointSlice, error) {
	b, err := k.call(ctx, http.MethodGet, nil)
	if err != nil {
		return nil, err
	}
	var s endpointSlice
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber() // numbers go back as they came
	if err := d.Decode(&s); err != nil {
		return nil, fmt.Errorf("the API server's answer: %w", err)
	}
	return s, s.check()
}

func (k *apiServer) put(ctx context.Context, s endpointSlice) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = k.call(ctx, http.MethodPut, b)
	return err
}

func (k *apiServer) call(ctx context.Context, method string, body []byte) ([]byte, error) {
	token, err := k.credential("token")
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, method, k.at, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
	r.Header.Set("Accept", "application/json")
	r.Header.Set("User-Agent", "sealedge")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := k.client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("the API server doesn't answer: %w", err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("the API server's answer: %w", err)
	case len(b) > maxAnswer:
		return nil, fmt.Errorf("the API server's answer has more than %d bytes", maxAnswer)
	case answer.StatusCode == http.StatusConflict && method == http.MethodPut:
		return nil, errConflict
	case answer.StatusCode != http.StatusOK:
		return nil, k.refusal(answer.StatusCode, b)
	}
	return b, nil
}

// refusal explains an answer that is none, with what to do about it.
func (k *apiServer) refusal(code int, body []byte) error {
	var status struct {
		Message string `json:"message"`
	}
	if json.Unmarshal(body, &status) != nil || status.Message == "" {
		status.Message = http.StatusText(code)
	}
	err := fmt.Errorf("the API server at %s answers %d: %s", k.host, code, strings.TrimSpace(status.Message))
	switch code {
	case http.StatusUnauthorized:
		return fmt.Errorf("%w: it doesn't take the token of the pod's ServiceAccount", err)
	case http.StatusForbidden:
		return fmt.Errorf("%w: the pod's ServiceAccount needs a Role that permits get and update of endpointslices (discovery.k8s.io) with the resourceName %s; the chart makes it", err, k.name)
	case http.StatusNotFound:
		return fmt.Errorf("%w: the EndpointSlice %s isn't there; the chart makes it, and nodes may not: run helm upgrade", err, k.name)
	}
	return err
}
