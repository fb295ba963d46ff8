// Command sealserver is the reference intranet seal server: users, work orders
// with approval, seal types and levels, the gateway's questions about a seal
// use, evidence, and reviewers' verdicts that disconnect a barrel.
//
// It is not part of the gateway: any vendor's server that speaks the interface
// of docs/api/sealserver.yaml can stand in its place.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sync/errgroup"

	"github.com/sealedge/sealedge/docs/api"
	"github.com/sealedge/sealedge/tools/sealserver/outbox"
	"github.com/sealedge/sealedge/tools/sealserver/server"
	"github.com/sealedge/sealedge/tools/sealserver/store"
)

// version is set by the linker.
var version = "unknown"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args)
	stop()
	os.Exit(code)
}

// Exit codes.
const (
	exitFailed = 1 // it ran, and failed
	exitUsage  = 2 // command line or configuration: nothing was started
)

// mistake is an error of the person who called.
type mistake struct{ error }

// run is main without the process: it returns the exit code.
func run(ctx context.Context, args []string) int {
	configFlag := &cli.StringFlag{Name: "config", Usage: "`FILE` to read", Value: "sealserver.yaml", EnvVars: []string{"SEALSERVER_CONFIG"}}
	app := &cli.App{
		Name: "sealserver", Usage: "the reference intranet seal server", Version: version, Suggest: true, HideHelpCommand: true,
		Commands: []*cli.Command{
			{Name: "serve", Usage: "run the server", Flags: []cli.Flag{configFlag}, Action: serve},
			{
				Name: "add-user", Usage: "add a user directly to the database; the password is read from standard input", ArgsUsage: "NAME",
				Flags: []cli.Flag{
					configFlag,
					&cli.StringFlag{Name: "display", Usage: "`NAME` that people call the user by"},
					&cli.StringFlag{Name: "department", Usage: "`DEPARTMENT` that the user works in"},
					&cli.StringSliceFlag{Name: "role", Usage: "`ROLE`: " + strings.Join(store.Roles, ", ") + "; may be repeated"},
				},
				Action: addUser,
			},
		},
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   func(c *cli.Context, err error, _ bool) error { return misused(c, err.Error()) },
		Action:         unknown,
	}
	for _, c := range app.Commands {
		c.OnUsageError = app.OnUsageError
		c.HideHelpCommand = true
	}
	err := app.RunContext(ctx, args)
	if err == nil {
		return 0
	}
	fmt.Fprintln(os.Stderr, "sealserver: "+err.Error())
	var m mistake
	if errors.As(err, &m) {
		return exitUsage
	}
	return exitFailed
}

// misused is a mistake in the command line, and where to read how it is written.
func misused(c *cli.Context, words string) error {
	return mistake{fmt.Errorf("%s; see %s --help", words, c.Command.HelpName)}
}

func unknown(c *cli.Context) error {
	if name := c.Args().First(); name != "" {
		return misused(c, fmt.Sprintf("there is no command %q", name))
	}
	c.App.Writer = os.Stderr // words, not data
	_ = cli.ShowAppHelp(c)
	return misused(c, "say which command")
}

func addUser(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return misused(c, "add-user takes one argument, the user's NAME, after its flags")
	}
	cfg, err := readConfig(c.String("config"))
	if err != nil {
		return mistake{err}
	}
	st, err := store.Open(c.Context, cfg.Database, cfg.EvidenceDir)
	if err != nil {
		return err
	}
	defer st.Close()
	password, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return st.AddUser(c.Context, store.User{
		Name: c.Args().First(), Display: c.String("display"), Department: c.String("department"), Roles: c.StringSlice("role"),
	}, strings.TrimRight(password, "\r\n"))
}

func serve(c *cli.Context) error {
	if c.Args().Present() {
		return misused(c, fmt.Sprintf("serve takes flags only, not %q", c.Args().First()))
	}
	cfg, err := readConfig(c.String("config"))
	if err != nil {
		return mistake{err}
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, nil))
	st, err := store.Open(c.Context, cfg.Database, cfg.EvidenceDir)
	if err != nil {
		return err
	}
	defer st.Close()
	roots, cert, client, err := cfg.identities()
	if err != nil {
		return err
	}
	wake := make(chan struct{}, 1)
	srv := server.New(server.Config{Store: st, Gateway: cfg.GatewayURI, Wake: wake, OpenAPI: api.SealServer, Logger: logger})
	hs := &http.Server{
		Handler:           srv,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		ErrorLog:          slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		// People have no certificate, the gateway must have one; the routes tell
		// them apart.
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert}, ClientCAs: roots, ClientAuth: tls.VerifyClientCertIfGiven},
	}
	l, err := net.Listen("tcp", cfg.Listen)
	if err != nil {
		return fmt.Errorf("listen in %s: %w", c.String("config"), err)
	}
	box := &outbox.Outbox{
		Store: st, Gateways: cfg.Gateways, Wake: wake, Logger: logger,
		HTTP: &http.Client{Transport: &http.Transport{
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: roots, Certificates: []tls.Certificate{client}},
		}},
	}
	g, ctx := errgroup.WithContext(c.Context)
	g.Go(func() error { return box.Run(ctx) })
	g.Go(func() error { return srv.Sweep(ctx) })
	g.Go(func() error {
		if err := hs.ServeTLS(l, "", ""); !errors.Is(err, http.ErrServerClosed) {
			return err
		}
		return nil
	})
	g.Go(func() error {
		<-ctx.Done()
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
		defer cancel()
		return errors.Join(hs.Shutdown(grace), hs.Close())
	})
	logger.Info("seal server ready", "listen", l.Addr(), "version", version)
	return g.Wait()
}

func (c config) identities() (roots *x509.CertPool, cert, client tls.Certificate, err error) {
	pem, err := os.ReadFile(c.CA)
	if err != nil {
		return nil, cert, client, fmt.Errorf("ca: %w", err)
	}
	roots = x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		return nil, cert, client, fmt.Errorf("ca: %s holds no certificate", c.CA)
	}
	if cert, err = tls.LoadX509KeyPair(c.Cert, c.Key); err != nil {
		return nil, cert, client, fmt.Errorf("cert, key: %w", err)
	}
	if client, err = tls.LoadX509KeyPair(c.ClientCert, c.ClientKey); err != nil {
		return nil, cert, client, fmt.Errorf("client_cert, client_key: %w", err)
	}
	return roots, cert, client, nil
}
