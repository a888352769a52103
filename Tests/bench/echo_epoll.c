// SPDX-License-Identifier: Apache-2.0
// Martlet, bench: the bare server that the broker's cost per request is measured against.
//
// One thread, one level-triggered epoll loop. It takes length-prefixed frames off a socket, throws the
// content away and answers each with 64 bytes (a length of 60, then zeros); all frames that one read
// brought share one write. With `--tls CERT KEY CA` the same loop runs over OpenSSL (SSL_set_fd, TLS 1.3,
// client certificate required). It does no broker work, so it is the floor that a broker can approach.
#include "peer.h"

enum { ANSWER = 64, READ = 256 * 1024, ANSWERS_MAX = 4096, EVENTS = 256 };

typedef struct {
    int fd;
    SSL *ssl;              // NULL in plaintext
    uint8_t header[4];     // length prefix, while it is incomplete
    unsigned header_have;
    uint64_t skip;         // bytes of the current frame that are still to come
    uint64_t owed;         // answer bytes not yet accepted by the socket
    bool writing;          // EPOLLOUT is registered
} Connection;

static uint8_t input[READ];
static uint8_t answers[ANSWER * ANSWERS_MAX];
static int loop;

static void close_connection(Connection *connection) {
    if (connection->ssl) SSL_free(connection->ssl);
    close(connection->fd);
    free(connection);
}

/// Number of frames that end within `length` bytes of input.
static unsigned frames_completed(Connection *connection, const uint8_t *bytes, size_t length) {
    unsigned completed = 0;
    size_t at = 0;
    while (at < length) {
        if (connection->skip) {
            size_t step = length - at < connection->skip ? length - at : connection->skip;
            connection->skip -= step;
            at += step;
            if (!connection->skip) completed++;
            continue;
        }
        connection->header[connection->header_have++] = bytes[at++];
        if (connection->header_have == 4) {
            connection->header_have = 0;
            connection->skip = load_u32(connection->header);
            if (!connection->skip) completed++;
        }
    }
    return completed;
}

/// False when the connection is gone.
static bool write_owed(Connection *connection) {
    while (connection->owed) {
        // Every answer is the same 64 bytes, so where a partial write stopped is known from what is owed.
        size_t start = (ANSWER - connection->owed % ANSWER) % ANSWER;
        size_t length = connection->owed < sizeof answers - start ? connection->owed : sizeof answers - start;
        long written;
        if (connection->ssl) {
            written = SSL_write(connection->ssl, answers + start, (int)length);
            if (written <= 0) {
                int error = SSL_get_error(connection->ssl, (int)written);
                if (error == SSL_ERROR_WANT_WRITE || error == SSL_ERROR_WANT_READ) break;
                return false;
            }
        } else {
            written = write(connection->fd, answers + start, length);
            if (written < 0) {
                if (errno == EAGAIN) break;
                return false;
            }
        }
        connection->owed -= (uint64_t)written;
    }
    bool wanted = connection->owed > 0;
    if (wanted != connection->writing) {
        struct epoll_event event = {.events = EPOLLIN | (wanted ? EPOLLOUT : 0), .data.ptr = connection};
        epoll_ctl(loop, EPOLL_CTL_MOD, connection->fd, &event);
        connection->writing = wanted;
    }
    return true;
}

static bool read_plain(Connection *connection) {
    ssize_t length = read(connection->fd, input, sizeof input);
    if (length <= 0) return length < 0 && errno == EAGAIN;
    connection->owed += (uint64_t)frames_completed(connection, input, (size_t)length) * ANSWER;
    return true;
}

static bool read_tls(Connection *connection) {
    for (;;) {
        int length = SSL_read(connection->ssl, input, sizeof input);
        if (length <= 0) {
            int error = SSL_get_error(connection->ssl, length);
            return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE;
        }
        connection->owed += (uint64_t)frames_completed(connection, input, (size_t)length) * ANSWER;
        if (!SSL_has_pending(connection->ssl)) return true;
    }
}

static void accept_all(int listener, SSL_CTX *context) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        int one = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        Connection *connection = calloc(1, sizeof *connection);
        connection->fd = fd;
        if (context) {
            connection->ssl = SSL_new(context);
            SSL_set_fd(connection->ssl, fd);
            SSL_set_accept_state(connection->ssl);
        }
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
        epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event);
    }
}

int main(int count, char **arguments) {
    SSL_CTX *context = NULL;
    if (count == 5 && !strcmp(arguments[1], "--tls")) {
        context = tls_context(true, arguments[2], arguments[3], arguments[4]);
    } else if (count != 1) {
        die("usage: echo_epoll [--tls CERT KEY CA]");
    }
    signal(SIGPIPE, SIG_IGN);
    for (size_t at = 0; at < sizeof answers; at += ANSWER) store_u32(answers + at, ANSWER - 4);
    loop = epoll_create1(EPOLL_CLOEXEC);
    int listener = listen_and_announce();
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    epoll_ctl(loop, EPOLL_CTL_ADD, listener, &event);
    struct epoll_event events[EVENTS];
    for (;;) {
        int ready = epoll_wait(loop, events, EVENTS, -1);
        for (int index = 0; index < ready; index++) {
            Connection *connection = events[index].data.ptr;
            if (!connection) {
                accept_all(listener, context);
                continue;
            }
            bool alive = true;
            if (events[index].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                alive = connection->ssl ? read_tls(connection) : read_plain(connection);
            }
            if (!alive || !write_owed(connection)) close_connection(connection);
        }
    }
}
