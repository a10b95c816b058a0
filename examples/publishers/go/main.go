// Publishes one request: BROKERS REGISTRY_URL TENANT PROMPT [TOPIC]. Prints the request id.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"log"
	"os"
	"strings"
	"time"

	"github.com/hamba/avro/v2"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 5 || len(os.Args) > 6 {
		log.Fatal("usage: BROKERS REGISTRY_URL TENANT PROMPT [TOPIC]")
	}
	topic := "llm.requests"
	if len(os.Args) == 6 {
		topic = os.Args[5]
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	id, err := publish(ctx, os.Args[1], os.Args[2], os.Args[3], os.Args[4], topic)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(id)
}

// publish returns the request's id once the broker has it safe.
func publish(ctx context.Context, brokers, registryURL, tenant, prompt, topic string) (string, error) {
	registry, err := sr.NewClient(sr.URLs(registryURL))
	if err != nil {
		return "", err
	}
	registered, err := registry.SchemaByVersion(ctx, topic+"-value", -1) // -1: the latest
	if err != nil {
		return "", err
	}
	schema, err := avro.Parse(registered.Schema.Schema)
	if err != nil {
		return "", err
	}

	// The id is yours: publishing it again after a failure never does (or pays) the work twice.
	id := rand.Text()
	body, err := avro.Marshal(schema, map[string]any{"id": id, "tenant": tenant, "prompt": prompt})
	if err != nil {
		return "", err
	}
	// Confluent's wire format: a zero byte, the schema's id in four bytes, the Avro body.
	value, err := new(sr.ConfluentHeader).AppendEncode(nil, registered.ID, nil)
	if err != nil {
		return "", err
	}

	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...))
	if err != nil {
		return "", err
	}
	defer client.Close()
	record := &kgo.Record{Topic: topic, Key: []byte(tenant), Value: append(value, body...)}
	return id, client.ProduceSync(ctx, record).FirstErr()
}
