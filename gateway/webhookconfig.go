package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

const (
	bundleTimeout = 10 * time.Second // of a request to the API server
	bundleRecheck = time.Minute      // whether somebody has changed it
	bundleRetry   = 2 * time.Second
)

// A bundleKeeper keeps the caBundle of a ValidatingWebhookConfiguration the one
// that the API server verifies our certificate with. It writes nothing else of
// it, and makes none: that is whose who installs us.
type bundleKeeper struct {
	core    kubernetes.Interface
	name    string
	bundle  func() []byte // PEM
	changed chan struct{} // of capacity 1: the bundle is another
	log     *slog.Logger
}

// note says that the bundle is another. It does not wait.
func (k *bundleKeeper) note() {
	select {
	case k.changed <- struct{}{}:
	default:
	}
}

// run keeps it until ctx ends.
func (k *bundleKeeper) run(ctx context.Context) {
	told := false // that it cannot be kept
	for {
		wait := bundleRecheck
		switch err := k.keep(ctx); {
		case ctx.Err() != nil:
			return
		case apierrors.IsNotFound(err):
			k.log.Debug("there is no configuration of the webhook", "err", err)
		case err != nil:
			wait = bundleRetry
			if !told {
				k.log.Warn("the API server cannot be told how to verify the webhook, trying again", "err", err)
			}
			told = true
		default:
			told = false
		}
		select {
		case <-ctx.Done():
			return
		case <-k.changed:
		case <-time.After(wait):
		}
	}
}

// keep writes the bundle where there is another.
func (k *bundleKeeper) keep(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, bundleTimeout)
	defer cancel()
	configurations := k.core.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	c, err := configurations.Get(ctx, k.name, metav1.GetOptions{})
	if err != nil {
		return err
	}
	patch := bundlePatch(c, k.bundle())
	if patch == nil {
		return nil
	}
	if _, err := configurations.Patch(ctx, k.name, types.JSONPatchType, patch, metav1.PatchOptions{FieldManager: "fairway-webhook"}); err != nil {
		return fmt.Errorf("patch ValidatingWebhookConfiguration %s: %w", k.name, err)
	}
	k.log.Info("the API server verifies the webhook by the mesh's CA")
	return nil
}

// bundlePatch is the JSON patch (RFC 6902) that puts a bundle into all webhooks
// of c; nil where it is there.
func bundlePatch(c *admissionregistrationv1.ValidatingWebhookConfiguration, bundle []byte) []byte {
	type operation struct {
		Op    string `json:"op"`
		Path  string `json:"path"`
		Value any    `json:"value"`
	}
	var patch []operation
	for i, hook := range c.Webhooks {
		if bytes.Equal(hook.ClientConfig.CABundle, bundle) {
			continue
		}
		at := "/webhooks/" + strconv.Itoa(i)
		patch = append(patch, operation{"test", at + "/name", hook.Name}, operation{"add", at + "/clientConfig/caBundle", bundle})
	}
	if patch == nil {
		return nil
	}
	text, err := json.Marshal(patch)
	if err != nil {
		panic("bug: " + err.Error()) // texts and bytes
	}
	return text
}
