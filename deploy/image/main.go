// Command image writes Fairway's container image as an OCI archive, without a
// container engine and from scratch: the static binary, the root certificates
// of the Mozilla programme, and the names of the users that may run it.
//
//	image -ref NAME:TAG -version VERSION -o FILE linux/amd64=BINARY linux/arm64=BINARY
//
// The archive is a tar of an [OCI image layout] with one image index for all
// platforms, as "ctr images import", "podman load", "skopeo copy oci-archive:"
// and "kind load image-archive" read it. What it says of time is what -created
// says: the same binaries give the same bytes and digests, on any machine.
//
// [OCI image layout]: https://github.com/opencontainers/image-spec/blob/main/image-layout.md
package main

import (
	"bytes"
	"encoding/pem"
	"flag"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is who the image runs as: the number that images from scratch have
// agreed on for somebody without rights.
const user = "65532"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	f := flag.NewFlagSet("image", flag.ExitOnError)
	ref := f.String("ref", "", "the `name` of the image: NAME:TAG")
	version := f.String("version", "", "the `version` that the labels name")
	revision := f.String("revision", "", "the `commit` that the labels name")
	created := f.Int64("created", 0, "the time of everything in it, in `seconds` since 1970")
	out := f.String("o", "", "the archive to write")
	f.Parse(args)
	if *ref == "" || *out == "" || f.NArg() == 0 {
		return fmt.Errorf("want -ref, -o and one or more OS/ARCH=BINARY")
	}
	at := time.Unix(*created, 0).UTC()
	im := image{
		ref: *ref, created: at,
		labels: map[string]string{
			"org.opencontainers.image.title":       "fairway",
			"org.opencontainers.image.description": "An ingress and east-west gateway for Kubernetes",
			"org.opencontainers.image.licenses":    "Apache-2.0",
			"org.opencontainers.image.version":     *version,
			"org.opencontainers.image.revision":    *revision,
			"org.opencontainers.image.created":     at.Format(time.RFC3339),
		},
	}
	base := ground()
	for _, arg := range f.Args() {
		p, path, ok := strings.Cut(arg, "=")
		goos, goarch, ok2 := strings.Cut(p, "/")
		if !ok || !ok2 {
			return fmt.Errorf("%q: want OS/ARCH=BINARY", arg)
		}
		binary, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		im.platforms = append(im.platforms, platform{
			os: goos, arch: goarch,
			// What seldom changes is a layer of its own, which nodes keep.
			layers: [][]file{base, {{"fairway", 0o755, binary}}},
		})
	}
	return writeFile(*out, &im)
}

// ground is what a static binary expects of a system.
func ground() []file {
	return []file{
		{"etc/", 0o755, nil},
		{"etc/group", 0o644, []byte("root:x:0:\nnonroot:x:" + user + ":\n")},
		{"etc/passwd", 0o644, []byte("root:x:0:0:root:/:/sbin/nologin\nnonroot:x:" + user + ":" + user + ":nonroot:/:/sbin/nologin\n")},
		{"etc/ssl/", 0o755, nil},
		{"etc/ssl/certs/", 0o755, nil},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, roots()},
	}
}

// roots are the certificates that are trusted without a condition: a file of
// them cannot express "only what was issued before".
func roots() []byte {
	var b bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			pem.Encode(&b, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate})
		}
	}
	return b.Bytes()
}

func writeFile(path string, im *image) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer f.Close()
	digest, err := im.write(f)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := f.Close(); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	fmt.Println(path, im.ref+"@"+digest, strconv.FormatInt(info.Size()>>20, 10)+" MiB")
	return nil
}
