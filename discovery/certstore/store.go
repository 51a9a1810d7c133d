// Package certstore keeps what ACME needs in Kubernetes, for all replicas of
// control: certificates and their keys, accounts and challenges in Secrets,
// and locks in Leases.
//
// A [Store] is a certmagic.Storage: a tree of files whose keys are paths. The
// files of a site, which are written one after the other and are nothing
// without each other, share a Secret; every other file has one of its own.
// Names of Secrets are digests of keys, so that no key is too long for one, and
// an annotation says which key it is.
//
// The law: a private key is in no list. What is in the tree is told from the
// Secrets' metadata alone, and contents are read one file at a time.
package certstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	coordinationclient "k8s.io/client-go/kubernetes/typed/coordination/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// Options say where the files are. All are required.
type Options struct {
	Namespace string // control's
	Identity  string // of this replica: its pod's name
	Log       *slog.Logger
}

// A Store is the files of a namespace. Any goroutine may use it. It needs to get,
// list, create, patch and delete Secrets and Leases there.
type Store struct {
	options Options
	core    coreclient.CoreV1Interface
	leases  coordinationclient.LeaseInterface

	mu   sync.Mutex
	held map[string]*hold      // by the lock's name
	seen map[string]othersLock // locks of others that somebody waits for
}

var (
	_ certmagic.Storage   = (*Store)(nil)
	_ certmagic.TryLocker = (*Store)(nil)
)

// New returns the Store of a namespace.
func New(config *rest.Config, o Options) (*Store, error) {
	core, err := coreclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("certificate store: %w", err)
	}
	coordination, err := coordinationclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("certificate store: %w", err)
	}
	return &Store{
		options: o, core: core, leases: coordination.Leases(o.Namespace),
		held: map[string]*hold{}, seen: map[string]othersLock{},
	}, nil
}

func (s *Store) secrets() coreclient.SecretInterface { return s.core.Secrets(s.options.Namespace) }

// Store writes a file.
func (s *Store) Store(ctx context.Context, key string, value []byte) error {
	at, err := placeOf(key)
	if err != nil {
		return err
	}
	// The file is a part of a Secret that may have others, written at this moment:
	// the patch names it alone.
	patch, err := json.Marshal(at.patch(value, time.Now()))
	if err != nil {
		return err
	}
	write := func() error {
		_, err := s.secrets().Patch(ctx, at.secret, types.MergePatchType, patch, metav1.PatchOptions{})
		return err
	}
	if err = write(); apierrors.IsNotFound(err) {
		_, err = s.secrets().Create(ctx, at.newSecret(value, time.Now()), metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			err = write()
		}
	}
	return s.failed("write", key, err)
}

// Load returns a file, or an error that is fs.ErrNotExist.
func (s *Store) Load(ctx context.Context, key string) ([]byte, error) {
	at, err := placeOf(key)
	if err != nil {
		return nil, err
	}
	secret, err := s.secrets().Get(ctx, at.secret, metav1.GetOptions{})
	if err != nil {
		return nil, s.failed("read", key, err)
	}
	value, ok := secret.Data[at.file]
	if !ok || secret.Annotations[keyAnnotation] != at.key {
		return nil, s.missing(key)
	}
	return value, nil
}

// Delete removes a file, or all files of a folder.
func (s *Store) Delete(ctx context.Context, key string) error {
	at, err := placeOf(key)
	if err != nil {
		return err
	}
	m, err := s.metadata(ctx, at.secret)
	if err != nil {
		return s.failed("delete", key, err)
	}
	if m != nil && m.file(key) != nil && len(m.files()) > 1 { // the others stay
		return s.failed("delete", key, s.cut(ctx, at))
	}
	found, err := s.below(ctx, key)
	if err != nil {
		return s.failed("delete", key, err)
	}
	var errs []error
	for _, m := range found {
		err := s.secrets().Delete(ctx, m.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &m.UID}})
		if !apierrors.IsNotFound(err) {
			errs = append(errs, err)
		}
	}
	return s.failed("delete", key, errors.Join(errs...))
}

// cut takes a file out of the Secret of its site.
func (s *Store) cut(ctx context.Context, at place) error {
	patch, err := json.Marshal(at.cut())
	if err != nil {
		return err
	}
	_, err = s.secrets().Patch(ctx, at.secret, types.MergePatchType, patch, metav1.PatchOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// Exists reports whether there is a file or a folder, and no error in asking.
func (s *Store) Exists(ctx context.Context, key string) bool {
	_, err := s.Stat(ctx, key)
	return err == nil
}

// Stat describes a file or a folder.
func (s *Store) Stat(ctx context.Context, key string) (certmagic.KeyInfo, error) {
	at, err := placeOf(key)
	if err != nil {
		return certmagic.KeyInfo{}, err
	}
	m, err := s.metadata(ctx, at.secret)
	if err != nil {
		return certmagic.KeyInfo{}, s.failed("look up", key, err)
	}
	if m != nil {
		if f := m.file(key); f != nil {
			return certmagic.KeyInfo{Key: key, Modified: f.modified, Size: f.size, IsTerminal: true}, nil
		}
	}
	found, err := s.below(ctx, key)
	if err != nil {
		return certmagic.KeyInfo{}, s.failed("look up", key, err)
	}
	if found == nil {
		return certmagic.KeyInfo{}, s.missing(key)
	}
	info := certmagic.KeyInfo{Key: key}
	for _, m := range found {
		for _, f := range m.paths() {
			if f.modified.After(info.Modified) {
				info.Modified = f.modified
			}
		}
	}
	return info, nil
}

// List returns the keys of the files and folders of a folder, and where recursive
// is set of those in it, in order. Where there is no such folder its error is
// fs.ErrNotExist.
func (s *Store) List(ctx context.Context, folder string, recursive bool) ([]string, error) {
	found, err := s.below(ctx, folder)
	if err != nil {
		return nil, s.failed("list", folder, err)
	}
	var keys []string
	for _, m := range found {
		for _, f := range m.paths() {
			if inFolder(f.path, folder) {
				keys = append(keys, steps(folder, f.path, recursive)...)
			}
		}
	}
	if keys == nil {
		return nil, s.missing(folder)
	}
	slices.Sort(keys)
	return slices.Compact(keys), nil
}

// steps returns what leads from a folder to a file: the folders between them
// and the file, or the first of these.
func steps(folder, file string, all bool) []string {
	var keys []string
	rest := strings.TrimPrefix(strings.TrimPrefix(file, folder), "/")
	at := len(file) - len(rest)
	for i := at; i < len(file); i++ {
		if file[i] == '/' {
			keys = append(keys, file[:i])
			if !all {
				return keys
			}
		}
	}
	return append(keys, file)
}

// inFolder reports whether a file is below a folder, at any depth; "" is the root.
func inFolder(file, folder string) bool {
	return folder == "" || strings.HasPrefix(file, folder) && len(file) > len(folder) && file[len(folder)] == '/'
}

// listPage bounds what one answer of the API server may hold.
const listPage = 500

// below returns the metadata of the Secrets that hold a file or what is in a
// folder.
func (s *Store) below(ctx context.Context, key string) ([]metadata, error) {
	var found []metadata
	next := ""
	for {
		body, err := s.core.RESTClient().Get().Namespace(s.options.Namespace).Resource("secrets").
			Param("labelSelector", storeLabel+"=true").Param("limit", fmt.Sprint(listPage)).Param("continue", next).
			SetHeader("Accept", metadataLists).Do(ctx).Raw()
		if err != nil {
			return nil, err
		}
		var page struct {
			metav1.ListMeta `json:"metadata"`
			Items           []metadata `json:"items"`
		}
		if err := json.Unmarshal(body, &page); err != nil {
			return nil, fmt.Errorf("list of Secrets: %w", err)
		}
		for _, m := range page.Items {
			if slices.ContainsFunc(m.paths(), func(f file) bool { return f.path == key || inFolder(f.path, key) }) {
				found = append(found, m)
			}
		}
		if next = page.Continue; next == "" {
			return found, nil
		}
	}
}

// metadata returns that of a Secret, nil where there is none.
func (s *Store) metadata(ctx context.Context, name string) (*metadata, error) {
	body, err := s.core.RESTClient().Get().Namespace(s.options.Namespace).Resource("secrets").Name(name).
		SetHeader("Accept", metadataOnly).Do(ctx).Raw()
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, err
	}
	m := &metadata{}
	if err := json.Unmarshal(body, m); err != nil {
		return nil, fmt.Errorf("metadata of Secret %s: %w", name, err)
	}
	return m, nil
}

// Kubernetes' API gives objects, and lists of them, without contents to whom asks so.
const (
	metadataOnly  = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	metadataLists = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
)

func (s *Store) missing(key string) error {
	return fmt.Errorf("%s: %w", key, fs.ErrNotExist)
}

// failed says which file an error is about.
func (s *Store) failed(what, key string, err error) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsNotFound(err):
		return s.missing(key)
	case apierrors.ReasonForError(err) == metav1.StatusReasonRequestEntityTooLarge || code(err) == http.StatusRequestEntityTooLarge:
		return fmt.Errorf("%s %s: too large for a Secret (want %d bytes at most): %w", what, key, corev1.MaxSecretSize, err)
	}
	return fmt.Errorf("%s %s: %w", what, key, err)
}

func code(err error) int32 {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return status.Status().Code
	}
	return 0
}
