// SPDX-License-Identifier: Apache-2.0
// Martlet, bench: one load generator for every server that speaks length-prefixed frames.
//
// It sends prebuilt frames (a file of 4-byte lengths and bodies, cycled) over N connections with a fixed
// number in flight on each, reads length-prefixed answers and drops their content. The bare peers and the
// broker are driven by exactly this code, so a ratio between them says something about the servers only.
// `--correlate` is for Kafka: the correlation id is patched into each frame (bytes 8 to 11) and checked in
// the answer; `--zero-at N` checks that the 16-bit error code at byte N of the answer is 0.
// The result, one JSON object: requests, seconds, bytes, latency percentiles, CPU of server and client.
#include "peer.h"

#include <getopt.h>
#include <sys/resource.h>
#include <sys/uio.h>

enum { PEEK = 256, READ = 512 * 1024, IN_FLIGHT_MAX = 256, SMALL = 16 * 1024, EVENTS = 256, BUCKETS = 2000000 };

typedef struct {
    const uint8_t *bytes;
    size_t length;
} Frame;

typedef struct {
    int fd;
    SSL *ssl;
    bool writing;
    // Sending: the frame under way, with its own first 12 bytes because the correlation id differs.
    const Frame *frame;
    size_t sent;
    size_t next_frame;
    uint8_t head[12];
    uint8_t *small;  // patched copy for TLS, where one write should be one record
    // Receiving.
    uint8_t prefix[4];
    unsigned prefix_have;
    uint64_t answer_left, answer_seen;
    uint8_t peek[PEEK];
    // In flight, a ring: answers come in the order of the requests.
    uint64_t started[IN_FLIGHT_MAX];
    unsigned outstanding, oldest;
    uint32_t next_correlation, expected_correlation;
} Connection;

static struct {
    int port, connections, in_flight, server_pid, zero_at, answer_size;
    double duration, warmup;
    uint64_t requests_max;
    const char *frames_path, *certificate, *key, *ca, *dump;
    bool correlate;
} options = {.connections = 1, .in_flight = 1, .duration = 3, .warmup = 0.5, .zero_at = -1};

static Frame *frames;
static size_t frame_count;
static uint8_t input[READ];
static uint32_t *histogram;
static uint64_t started_total, completed, bytes_in, bytes_out, latency_max;
static bool draining;
static int loop;

static void load_frames(void) {
    FILE *file = fopen(options.frames_path, "rb");
    if (!file) die("%s: %s", options.frames_path, strerror(errno));
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    uint8_t *bytes = malloc(size);
    if (fread(bytes, 1, size, file) != size) die("%s: short read", options.frames_path);
    fclose(file);
    for (size_t at = 0; at + 4 <= size;) {
        size_t length = 4 + (size_t)load_u32(bytes + at);
        if (at + length > size || length < 12) die("%s: bad frame at %zu", options.frames_path, at);
        frames = realloc(frames, (frame_count + 1) * sizeof *frames);
        frames[frame_count++] = (Frame){bytes + at, length};
        at += length;
    }
    if (!frame_count) die("%s: no frames", options.frames_path);
}

static void want_write(Connection *connection, bool wanted) {
    if (connection->writing == wanted) return;
    connection->writing = wanted;
    struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = connection};
    epoll_ctl(loop, EPOLL_CTL_MOD, connection->fd, &event);
}

static void begin_frame(Connection *connection) {
    connection->frame = &frames[connection->next_frame];
    connection->next_frame = (connection->next_frame + 1) % frame_count;
    connection->sent = 0;
    memcpy(connection->head, connection->frame->bytes, 12);
    if (options.correlate) store_u32(connection->head + 8, connection->next_correlation++);
    if (connection->ssl && connection->frame->length <= SMALL) {
        memcpy(connection->small, connection->head, 12);
        memcpy(connection->small + 12, connection->frame->bytes + 12, connection->frame->length - 12);
    }
    unsigned slot = (connection->oldest + connection->outstanding++) % IN_FLIGHT_MAX;
    connection->started[slot] = now_ns();
    started_total++;
}

/// Bytes the socket took; 0 when it takes no more for now.
static size_t send_some(Connection *connection) {
    const Frame *frame = connection->frame;
    size_t sent = connection->sent;
    if (connection->ssl) {
        const uint8_t *from;
        size_t length;
        if (frame->length <= SMALL) {
            from = connection->small + sent;
            length = frame->length - sent;
        } else if (sent < 12) {
            from = connection->head + sent;
            length = 12 - sent;
        } else {
            from = frame->bytes + sent;
            length = frame->length - sent;
        }
        int written = SSL_write(connection->ssl, from, (int)length);
        if (written > 0) return (size_t)written;
        int error = SSL_get_error(connection->ssl, written);
        if (error != SSL_ERROR_WANT_WRITE && error != SSL_ERROR_WANT_READ) die("SSL_write failed: %d", error);
        return 0;
    }
    struct iovec parts[2];
    int count = 0;
    if (sent < 12) parts[count++] = (struct iovec){connection->head + sent, 12 - sent};
    size_t body = sent < 12 ? 12 : sent;
    parts[count++] = (struct iovec){(void *)(frame->bytes + body), frame->length - body};
    ssize_t written = writev(connection->fd, parts, count);
    if (written < 0 && errno != EAGAIN) die("write: %s", strerror(errno));
    return written < 0 ? 0 : (size_t)written;
}

static void send_more(Connection *connection) {
    for (;;) {
        if (!connection->frame) {
            bool enough = options.requests_max && started_total >= options.requests_max;
            if (draining || enough || connection->outstanding >= (unsigned)options.in_flight) break;
            begin_frame(connection);
        }
        size_t written = send_some(connection);
        if (!written) {
            want_write(connection, true);
            return;
        }
        bytes_out += written;
        connection->sent += written;
        if (connection->sent == connection->frame->length) connection->frame = NULL;
    }
    want_write(connection, false);
}

static void check_answer(Connection *connection) {
    if (options.correlate) {
        if (connection->answer_seen < 4 || load_u32(connection->peek) != connection->expected_correlation) {
            die("answer out of order: correlation id %u, expected %u", load_u32(connection->peek),
                connection->expected_correlation);
        }
        connection->expected_correlation++;
    }
    int at = options.zero_at;
    if (at >= 0 && ((uint64_t)at + 2 > connection->answer_seen || connection->peek[at] || connection->peek[at + 1])) {
        die("error code %d in an answer", at + 2 <= PEEK ? (connection->peek[at] << 8 | connection->peek[at + 1]) : -1);
    }
    if (options.dump) {
        FILE *file = fopen(options.dump, "wb");
        if (!file) die("%s: %s", options.dump, strerror(errno));
        fwrite(connection->peek, 1, connection->answer_seen < PEEK ? connection->answer_seen : PEEK, file);
        fclose(file);
        options.dump = NULL;
    }
}

static void finish_answer(Connection *connection) {
    check_answer(connection);
    if (!connection->outstanding) die("an answer to nothing");
    uint64_t microseconds = (now_ns() - connection->started[connection->oldest]) / 1000;
    connection->oldest = (connection->oldest + 1) % IN_FLIGHT_MAX;
    connection->outstanding--;
    histogram[microseconds < BUCKETS ? microseconds : BUCKETS - 1]++;
    if (microseconds > latency_max) latency_max = microseconds;
    completed++;
}

static void take_input(Connection *connection, const uint8_t *bytes, size_t length) {
    bytes_in += length;
    for (size_t at = 0; at < length;) {
        if (connection->prefix_have < 4) {
            connection->prefix[connection->prefix_have++] = bytes[at++];
            if (connection->prefix_have < 4) continue;
            connection->answer_left = load_u32(connection->prefix);
            connection->answer_seen = 0;
        }
        size_t step = length - at < connection->answer_left ? length - at : connection->answer_left;
        if (connection->answer_seen < PEEK) {
            size_t room = PEEK - connection->answer_seen;
            memcpy(connection->peek + connection->answer_seen, bytes + at, step < room ? step : room);
        }
        at += step;
        connection->answer_seen += step;
        connection->answer_left -= step;
        if (!connection->answer_left) {
            connection->prefix_have = 0;
            finish_answer(connection);
        }
    }
}

static void receive(Connection *connection) {
    if (!connection->ssl) {
        ssize_t length = read(connection->fd, input, sizeof input);
        if (length == 0) die("the server closed a connection");
        if (length < 0 && errno != EAGAIN) die("read: %s", strerror(errno));
        if (length > 0) take_input(connection, input, (size_t)length);
        return;
    }
    for (;;) {
        int length = SSL_read(connection->ssl, input, sizeof input);
        if (length > 0) {
            take_input(connection, input, (size_t)length);
            continue;
        }
        int error = SSL_get_error(connection->ssl, length);
        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return;
        die("SSL_read failed: %d", error);
    }
}

static Connection *open_connections(SSL_CTX *context) {
    Connection *all = calloc((size_t)options.connections, sizeof *all);
    for (int index = 0; index < options.connections; index++) {
        Connection *connection = &all[index];
        connection->fd = connect_loopback(options.port);
        connection->next_frame = (size_t)index % frame_count;
        if (context) {
            connection->small = malloc(SMALL);
            connection->ssl = SSL_new(context);
            SSL_set_fd(connection->ssl, connection->fd);
            SSL_set_tlsext_host_name(connection->ssl, "localhost");
            if (SSL_connect(connection->ssl) != 1) die("TLS handshake failed");
        }
        make_nonblocking(connection->fd);
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        epoll_ctl(loop, EPOLL_CTL_ADD, connection->fd, &event);
    }
    return all;
}

static uint64_t percentile(double fraction) {
    uint64_t wanted = (uint64_t)((double)completed * fraction), seen = 0;
    for (uint64_t bucket = 0; bucket < BUCKETS; bucket++) {
        seen += histogram[bucket];
        if (seen > wanted) return bucket;
    }
    return BUCKETS;
}

static double own_cpu_ms(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e3 +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e3;
}

static void turn(Connection *all, int timeout_ms) {
    (void)all;
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(loop, events, EVENTS, timeout_ms);
    for (int index = 0; index < ready; index++) {
        Connection *connection = events[index].data.ptr;
        if (events[index].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receive(connection);
        send_more(connection);
    }
}

static bool any_outstanding(const Connection *all) {
    for (int index = 0; index < options.connections; index++) {
        if (all[index].outstanding) return true;
    }
    return false;
}

static void parse_options(int count, char **arguments) {
    static const struct option names[] = {
        {"port", 1, 0, 'p'},      {"connections", 1, 0, 'c'}, {"in-flight", 1, 0, 'i'}, {"duration", 1, 0, 'd'},
        {"warmup", 1, 0, 'w'},    {"frames", 1, 0, 'f'},      {"tls", 1, 0, 't'},       {"correlate", 0, 0, 'x'},
        {"zero-at", 1, 0, 'z'},   {"server-pid", 1, 0, 's'},  {"dump-first", 1, 0, 'D'}, {"requests", 1, 0, 'n'},
        {0, 0, 0, 0}};
    int option;
    while ((option = getopt_long(count, arguments, "", names, NULL)) != -1) {
        switch (option) {
            case 'p': options.port = atoi(optarg); break;
            case 'c': options.connections = atoi(optarg); break;
            case 'i': options.in_flight = atoi(optarg); break;
            case 'd': options.duration = atof(optarg); break;
            case 'w': options.warmup = atof(optarg); break;
            case 'f': options.frames_path = optarg; break;
            case 'x': options.correlate = true; break;
            case 'z': options.zero_at = atoi(optarg); break;
            case 's': options.server_pid = atoi(optarg); break;
            case 'D': options.dump = optarg; break;
            case 'n': options.requests_max = strtoull(optarg, NULL, 10); break;
            case 't': {  // CERT,KEY,CA
                options.certificate = strtok(optarg, ",");
                options.key = strtok(NULL, ",");
                options.ca = strtok(NULL, ",");
                break;
            }
            default: die("unknown option");
        }
    }
    if (!options.port || !options.frames_path || (options.certificate && !options.ca)) {
        die("usage: load --port P --frames FILE [--connections N] [--in-flight N] [--duration S] [--warmup S]"
            " [--requests N] [--tls CERT,KEY,CA] [--correlate] [--zero-at N] [--server-pid PID]");
    }
    if (options.in_flight > IN_FLIGHT_MAX || options.zero_at + 2 > PEEK) die("out of range");
}

int main(int count, char **arguments) {
    parse_options(count, arguments);
    signal(SIGPIPE, SIG_IGN);
    load_frames();
    histogram = calloc(BUCKETS, sizeof *histogram);
    loop = epoll_create1(EPOLL_CLOEXEC);
    SSL_CTX *context =
        options.certificate ? tls_context(false, options.certificate, options.key, options.ca) : NULL;
    Connection *all = open_connections(context);
    uint64_t start = now_ns();
    for (int index = 0; index < options.connections; index++) send_more(&all[index]);

    uint64_t warm = now_ns() + (uint64_t)(options.warmup * 1e9);
    while (!options.requests_max && now_ns() < warm) turn(all, 1);
    if (!options.requests_max) {  // What was done to warm up does not count.
        completed = bytes_in = bytes_out = latency_max = 0;
        memset(histogram, 0, BUCKETS * sizeof *histogram);
        start = now_ns();
    }
    double server_before = options.server_pid ? cpu_ms(options.server_pid) : 0, client_before = own_cpu_ms();
    uint64_t end = start + (uint64_t)(options.duration * 1e9);
    if (options.requests_max) {
        while (completed < options.requests_max) turn(all, 1000);
    } else {
        while (now_ns() < end) turn(all, 1);
    }
    double seconds = (double)(now_ns() - start) / 1e9;
    double server = options.server_pid ? cpu_ms(options.server_pid) - server_before : 0;
    double client = own_cpu_ms() - client_before;
    uint64_t measured = completed, measured_in = bytes_in, measured_out = bytes_out;
    uint64_t p50 = percentile(0.5), p99 = percentile(0.99), p999 = percentile(0.999);
    draining = true;
    for (uint64_t limit = now_ns() + 10000000000u; any_outstanding(all) && now_ns() < limit;) turn(all, 10);
    if (any_outstanding(all)) die("answers are missing 10 s after the last request");
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"bytes_in\": %llu, \"bytes_out\": %llu, \"p50_us\": %llu, "
           "\"p99_us\": %llu, \"p999_us\": %llu, \"max_us\": %llu, \"server_cpu_ms\": %.1f, \"client_cpu_ms\": %.1f}\n",
           (unsigned long long)measured, seconds, (unsigned long long)measured_in, (unsigned long long)measured_out,
           (unsigned long long)p50, (unsigned long long)p99, (unsigned long long)p999,
           (unsigned long long)latency_max, server, client);
    return 0;
}
