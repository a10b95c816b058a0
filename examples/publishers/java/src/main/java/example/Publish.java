package example;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.util.Map;
import java.util.UUID;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumWriter;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.generic.GenericRecordBuilder;
import org.apache.avro.io.BinaryEncoder;
import org.apache.avro.io.EncoderFactory;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerConfig;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.ByteArraySerializer;
import org.apache.kafka.common.serialization.StringSerializer;

/** Publishes one request: BROKERS REGISTRY_URL TENANT PROMPT [TOPIC]. Prints the request id. */
public final class Publish {

    /** A schema and the id under which the registry knows it. */
    private record Registered(int id, Schema schema) {}

    public static void main(String[] args) throws Exception {
        if (args.length < 4 || args.length > 5) {
            System.err.println("usage: BROKERS REGISTRY_URL TENANT PROMPT [TOPIC]");
            System.exit(2);
        }
        String topic = args.length == 5 ? args[4] : "llm.requests";
        Registered registered = latest(args[1], topic + "-value");

        // The id is yours: publishing it again after a failure never does (or pays) the work twice.
        String requestId = UUID.randomUUID().toString();
        GenericRecord request = new GenericRecordBuilder(registered.schema())
                .set("id", requestId)
                .set("tenant", args[2])
                .set("prompt", args[3])
                .build();

        Map<String, Object> settings = Map.of(
                ProducerConfig.BOOTSTRAP_SERVERS_CONFIG, args[0],
                ProducerConfig.ACKS_CONFIG, "all",
                ProducerConfig.ENABLE_IDEMPOTENCE_CONFIG, true);
        try (var producer = new KafkaProducer<>(settings, new StringSerializer(), new ByteArraySerializer())) {
            producer.send(new ProducerRecord<>(topic, args[2], encode(registered, request))).get();
        }
        System.out.println(requestId);
    }

    private static Registered latest(String registryUrl, String subject) throws IOException, InterruptedException {
        URI uri = URI.create(registryUrl + "/subjects/" + subject + "/versions/latest");
        HttpResponse<String> answer = HttpClient.newHttpClient()
                .send(HttpRequest.newBuilder(uri).build(), HttpResponse.BodyHandlers.ofString());
        if (answer.statusCode() != 200) {
            throw new IOException("the registry answered " + answer.statusCode() + " to " + uri);
        }
        JsonNode body = new ObjectMapper().readTree(answer.body());
        return new Registered(body.get("id").asInt(), new Schema.Parser().parse(body.get("schema").asText()));
    }

    /** Confluent's wire format: a zero byte, the schema's id in four bytes, the Avro body. */
    private static byte[] encode(Registered registered, GenericRecord request) throws IOException {
        ByteArrayOutputStream bytes = new ByteArrayOutputStream();
        DataOutputStream prefix = new DataOutputStream(bytes);
        prefix.writeByte(0);
        prefix.writeInt(registered.id());
        BinaryEncoder encoder = EncoderFactory.get().directBinaryEncoder(bytes, null);
        new GenericDatumWriter<GenericRecord>(registered.schema()).write(request, encoder);
        return bytes.toByteArray();
    }
}
