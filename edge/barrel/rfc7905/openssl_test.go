package rfc7905

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/dtls/v2"
)

// opensslNames are OpenSSL's names of the suites.
var opensslNames = map[dtls.CipherSuiteID]string{
	ECDHEECDSA: "ECDHE-ECDSA-CHACHA20-POLY1305",
	ECDHEPSK:   "ECDHE-PSK-CHACHA20-POLY1305",
	PSK:        "PSK-CHACHA20-POLY1305",
}

// openssl finds the other implementation. Without it there is nothing to
// compare with; where the tests are what decides (CI=true), that is a failure.
func openssl(t *testing.T) string {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl isn't installed: interoperation would go unproved")
		}
		t.Skip("openssl isn't installed")
	}
	return path
}

// files writes the certificate, its key and nothing else to PEM files.
func files(t *testing.T, cert tls.Certificate) (certFile, keyFile string) {
	t.Helper()
	der, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: cert.Certificate[0]},
		keyFile:  {Type: "EC PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// identity are the arguments that give OpenSSL the identity of a barrel, or of
// a gateway.
func identity(t *testing.T, id dtls.CipherSuiteID, cert tls.Certificate) []string {
	if id == ECDHEECDSA {
		certFile, keyFile := files(t, cert)
		return []string{"-cert", certFile, "-key", keyFile, "-CAfile", certFile}
	}
	return []string{"-psk", hex.EncodeToString(theKey), "-psk_identity", theIdentity}
}

// OpenSSL as the barrel, our suites as the gateway.
func TestOpenSSLClient(t *testing.T) {
	bin := openssl(t)
	for id, name := range opensslNames {
		t.Run(name, func(t *testing.T) {
			serverConfig, clientConfig := configs(t, id)
			socket, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()

			args := []string{
				"s_client", "-dtls1_2", "-connect", socket.LocalAddr().String(), "-cipher", name,
				"-servername", "gateway", "-verify_return_error", "-nocommands", "-quiet", "-no_ign_eof",
			}
			if id == ECDHEECDSA {
				args = append(args, identity(t, id, clientConfig.Certificates[0])...)
			} else {
				args = append(args, identity(t, id, tls.Certificate{})...)
			}
			cmd, in, out := start(t, bin, args)

			ctx, cancel := testTimeout(t, 2*time.Minute)
			defer cancel()
			conn, err := dtls.ServerWithContext(ctx, Guard(&onePeer{UDPConn: socket}), serverConfig)
			if err != nil {
				t.Fatalf("server: %v", err)
			}
			defer conn.Close()
			converse(t, conn, in, out)
			if id == ECDHEECDSA {
				if certs := conn.ConnectionState().PeerCertificates; len(certs) != 1 {
					t.Errorf("the client proved %d certificates, want 1", len(certs))
				}
			}
			_ = in.Close() // s_client says close_notify and ends
			if err := cmd.Wait(); err != nil {
				t.Errorf("s_client: %v", err)
			}
		})
	}
}

// Our suites as the barrel, OpenSSL as the gateway.
func TestOpenSSLServer(t *testing.T) {
	bin := openssl(t)
	for id, name := range opensslNames {
		t.Run(name, func(t *testing.T) {
			serverConfig, clientConfig := configs(t, id)
			at := ownLoopback()
			args := []string{"s_server", "-dtls1_2", "-accept", at, "-cipher", name, "-quiet"}
			if id == ECDHEECDSA {
				args = append(args, identity(t, id, serverConfig.Certificates[0])...)
				args = append(args, "-Verify", "1", "-verify_return_error")
			} else {
				args = append(args, "-nocert")
				args = append(args, identity(t, id, tls.Certificate{})...)
			}
			_, in, out := start(t, bin, args)

			// s_server says nothing when it is ready; until it is, the ClientHello is
			// refused by the host and sent again.
			raddr, err := net.ResolveUDPAddr("udp", at)
			if err != nil {
				t.Fatal(err)
			}
			clientConfig.FlightInterval = 50 * time.Millisecond
			ctx, cancel := testTimeout(t, 2*time.Minute)
			defer cancel()
			var conn *dtls.Conn
			for {
				socket, err := net.DialUDP("udp", nil, raddr)
				if err != nil {
					t.Fatal(err)
				}
				if conn, err = dtls.ClientWithContext(ctx, Guard(socket), clientConfig); err == nil {
					break
				}
				_ = socket.Close()
				if ctx.Err() != nil {
					t.Fatalf("client: %v", err)
				}
			}
			defer conn.Close()
			converse(t, conn, in, out)
		})
	}
}

// onePeer is a socket that answers whoever spoke last.
type onePeer struct {
	*net.UDPConn
	peer atomic.Pointer[netip.AddrPort]
}

func (o *onePeer) Read(b []byte) (int, error) {
	n, from, err := o.ReadFromUDPAddrPort(b)
	if err == nil {
		o.peer.Store(&from)
	}
	return n, err
}

func (o *onePeer) Write(b []byte) (int, error) { return o.WriteToUDPAddrPort(b, *o.peer.Load()) }

// converse sends lines in both directions between our side and OpenSSL's
// terminal.
func converse(t *testing.T, ours net.Conn, in io.Writer, out *bufio.Reader) {
	t.Helper()
	if err := ours.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	buf := make([]byte, 2048)
	for i := range 3 {
		up := "from openssl " + strconv.Itoa(i) + "\n"
		if _, err := io.WriteString(in, up); err != nil {
			t.Fatal(err)
		}
		if n, err := ours.Read(buf); err != nil || string(buf[:n]) != up {
			t.Fatalf("read %q, %v, want %q", buf[:n], err, up)
		}
		down := "to openssl " + strings.Repeat("x", 1000*i) + "\n"
		if _, err := ours.Write([]byte(down)); err != nil {
			t.Fatal(err)
		}
		if line, err := out.ReadString('\n'); err != nil || line != down {
			t.Fatalf("openssl read %q, %v, want %q", line, err, down)
		}
	}
}

func start(t *testing.T, bin string, args []string) (cmd *exec.Cmd, in io.WriteCloser, out *bufio.Reader) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), bin, args...)
	cmd.Env = append(os.Environ(), "OPENSSL_CONF=/dev/null") // the host's settings are none of ours
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(cmd.Args, " "), said.String())
		}
	})
	return cmd, in, bufio.NewReader(stdout)
}

// ownLoopback is where nobody else listens: the address is this process's alone, as a
// free port of an address that is everybody's may be taken a moment later.
func ownLoopback() string {
	pid := os.Getpid()
	return fmt.Sprintf("127.%d.%d.%d:4433", 96+pid>>16%32, byte(pid>>8), byte(pid))
}
