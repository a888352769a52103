// SPDX-License-Identifier: Apache-2.0
// Martlet, COpenSSL: OpenSSL as Swift sees it. What the headers spell as a macro, a varargs call or a
// function-like constant is wrapped here; nothing is decided here. Owns nothing.
#pragma once
#include <openssl/asn1.h>
#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/decoder.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/objects.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

typedef int (*martlet_server_name_callback)(SSL *, int *, void *);

static inline int martlet_SSL_CTX_set_min_proto_version(SSL_CTX *context, int version) {
    return (int)SSL_CTX_set_min_proto_version(context, version);
}

static inline int martlet_SSL_CTX_set_max_proto_version(SSL_CTX *context, int version) {
    return (int)SSL_CTX_set_max_proto_version(context, version);
}

static inline int martlet_SSL_CTX_set1_groups_list(SSL_CTX *context, const char *groups) {
    return (int)SSL_CTX_set1_groups_list(context, groups);
}

static inline uint64_t martlet_SSL_OP_NO_RENEGOTIATION(void) { return SSL_OP_NO_RENEGOTIATION; }
static inline uint64_t martlet_SSL_OP_NO_COMPRESSION(void) { return SSL_OP_NO_COMPRESSION; }
static inline uint64_t martlet_SSL_OP_CIPHER_SERVER_PREFERENCE(void) { return SSL_OP_CIPHER_SERVER_PREFERENCE; }
static inline uint64_t martlet_SSL_OP_PRIORITIZE_CHACHA(void) { return SSL_OP_PRIORITIZE_CHACHA; }

static inline void martlet_SSL_CTX_set_mode(SSL_CTX *context, long mode) { SSL_CTX_set_mode(context, mode); }

static inline void martlet_SSL_CTX_set_read_ahead(SSL_CTX *context, int isOn) {
    SSL_CTX_set_read_ahead(context, isOn);
}

static inline void martlet_SSL_CTX_set_session_cache_mode(SSL_CTX *context, long mode) {
    SSL_CTX_set_session_cache_mode(context, mode);
}

static inline void martlet_SSL_CTX_set_max_cert_list(SSL_CTX *context, long bytes) {
    SSL_CTX_set_max_cert_list(context, bytes);
}

static inline int martlet_SSL_CTX_add1_chain_cert(SSL_CTX *context, X509 *certificate) {
    return (int)SSL_CTX_add1_chain_cert(context, certificate);
}

static inline void martlet_SSL_CTX_set_server_name_callback(
    SSL_CTX *context, martlet_server_name_callback callback) {
    SSL_CTX_set_tlsext_servername_callback(context, callback);
}

static inline int martlet_SSL_set_tlsext_host_name(SSL *session, const char *name) {
    return (int)SSL_set_tlsext_host_name(session, name);
}

static inline long martlet_BIO_get_mem_data(BIO *bio, char **bytes) { return BIO_get_mem_data(bio, bytes); }

static inline int martlet_EVP_PKEY_KEYPAIR(void) { return EVP_PKEY_KEYPAIR; }

/// A new key on the NIST curve P-256; NULL on failure.
static inline EVP_PKEY *martlet_P256_key(void) { return EVP_EC_gen("P-256"); }

/// One GENERAL_NAME of a subjectAltName, read without its union: the type is one of GEN_*, the bytes live as
/// long as the name; 0 for types that are not strings of bytes.
static inline int martlet_GENERAL_NAME_get0(
    const GENERAL_NAME *name, int *type, const unsigned char **bytes, int *length) {
    *type = name->type;
    const ASN1_STRING *string = NULL;
    switch (name->type) {
    case GEN_DNS: string = name->d.dNSName; break;
    case GEN_EMAIL: string = name->d.rfc822Name; break;
    case GEN_URI: string = name->d.uniformResourceIdentifier; break;
    case GEN_IPADD: string = name->d.iPAddress; break;
    default: return 0;
    }
    *bytes = ASN1_STRING_get0_data(string);
    *length = ASN1_STRING_length(string);
    return 1;
}

static inline GENERAL_NAMES *martlet_X509_subject_alternative_names(const X509 *certificate) {
    return (GENERAL_NAMES *)X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
}

static inline int martlet_GENERAL_NAMES_count(const GENERAL_NAMES *names) { return sk_GENERAL_NAME_num(names); }

static inline const GENERAL_NAME *martlet_GENERAL_NAMES_get0(const GENERAL_NAMES *names, int index) {
    return sk_GENERAL_NAME_value(names, index);
}

static inline STACK_OF(X509) *martlet_X509_stack(X509 *const *certificates, int count) {
    STACK_OF(X509) *stack = sk_X509_new_null();
    for (int index = 0; stack != NULL && index < count; index++) sk_X509_push(stack, certificates[index]);
    return stack;
}

/// Whether `leaf`, with `chain` to help, leads to one of `trusted` at the time `now` and may be used for `purpose`
/// (X509_PURPOSE_*); X509_V_OK or the library's error, the depth of the certificate it is about in `depth`.
static inline int martlet_X509_verify_chain(
    X509 *leaf, X509 *const *chain, int chainCount, X509 *const *trusted, int trustedCount, int purpose, time_t now,
    int *depth) {
    int error = X509_V_ERR_OUT_OF_MEM;
    X509_STORE *store = X509_STORE_new();
    X509_STORE_CTX *context = X509_STORE_CTX_new();
    STACK_OF(X509) *untrusted = martlet_X509_stack(chain, chainCount);
    if (store != NULL && context != NULL && untrusted != NULL) {
        for (int index = 0; index < trustedCount; index++) X509_STORE_add_cert(store, trusted[index]);
        if (X509_STORE_CTX_init(context, store, leaf, untrusted) == 1) {
            X509_VERIFY_PARAM *rules = X509_STORE_CTX_get0_param(context);
            X509_VERIFY_PARAM_set_flags(rules, X509_V_FLAG_PARTIAL_CHAIN);
            X509_VERIFY_PARAM_set_purpose(rules, purpose);
            X509_VERIFY_PARAM_set_time(rules, now);
            int isGood = X509_verify_cert(context) == 1;
            error = isGood ? X509_V_OK : X509_STORE_CTX_get_error(context);
            if (!isGood && error == X509_V_OK) error = X509_V_ERR_UNSPECIFIED;
            *depth = X509_STORE_CTX_get_error_depth(context);
        }
    }
    sk_X509_free(untrusted);
    X509_STORE_CTX_free(context);
    X509_STORE_free(store);
    ERR_clear_error();
    return error;
}

/// The digest that a certificate is signed with (NID_undef if the algorithm has one of its own).
static inline int martlet_X509_signature_digest(X509 *certificate) {
    int digest = NID_undef;
    X509_get_signature_info(certificate, &digest, NULL, NULL, NULL);
    return digest;
}

/// A PKCS #12 file in DER, to be freed with OPENSSL_free; its length, or a negative number.
static inline int martlet_PKCS12(
    const char *password, const char *name, EVP_PKEY *key, X509 *certificate, X509 *const *chain, int chainCount,
    unsigned char **der) {
    STACK_OF(X509) *others = martlet_X509_stack(chain, chainCount);
    PKCS12 *file = PKCS12_create(password, name, key, certificate, others, 0, 0, 0, 0, 0);
    *der = NULL;
    int length = file == NULL ? -1 : i2d_PKCS12(file, der);
    PKCS12_free(file);
    sk_X509_free(others);
    return length;
}

/// A public key of a type ("RSA", "EC") from its parameters, which are freed; NULL if they are no such key.
static inline EVP_PKEY *martlet_public_key(const char *type, OSSL_PARAM *parameters) {
    EVP_PKEY *key = NULL;
    EVP_PKEY_CTX *context = parameters ? EVP_PKEY_CTX_new_from_name(NULL, type, NULL) : NULL;
    if (context == NULL || EVP_PKEY_fromdata_init(context) != 1 ||
        EVP_PKEY_fromdata(context, &key, EVP_PKEY_PUBLIC_KEY, parameters) != 1)
        key = NULL;
    EVP_PKEY_CTX_free(context);
    OSSL_PARAM_free(parameters);
    return key;
}

/// A public RSA key from its modulus and exponent, big-endian.
static inline EVP_PKEY *martlet_RSA_public_key(
    const unsigned char *modulus, size_t modulusLength, const unsigned char *exponent, size_t exponentLength) {
    BIGNUM *n = BN_bin2bn(modulus, (int)modulusLength, NULL);
    BIGNUM *e = BN_bin2bn(exponent, (int)exponentLength, NULL);
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM *parameters = NULL;
    if (n && e && builder && OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_N, n) &&
        OSSL_PARAM_BLD_push_BN(builder, OSSL_PKEY_PARAM_RSA_E, e))
        parameters = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY *key = martlet_public_key("RSA", parameters);
    OSSL_PARAM_BLD_free(builder);
    BN_free(e);
    BN_free(n);
    return key;
}

/// A public key on a curve ("P-256") from its point (0x04, x, y).
static inline EVP_PKEY *martlet_EC_public_key(const char *curve, const unsigned char *point, size_t length) {
    OSSL_PARAM_BLD *builder = OSSL_PARAM_BLD_new();
    OSSL_PARAM *parameters = NULL;
    if (builder && OSSL_PARAM_BLD_push_utf8_string(builder, OSSL_PKEY_PARAM_GROUP_NAME, curve, 0) &&
        OSSL_PARAM_BLD_push_octet_string(builder, OSSL_PKEY_PARAM_PUB_KEY, point, length))
        parameters = OSSL_PARAM_BLD_to_param(builder);
    EVP_PKEY *key = martlet_public_key("EC", parameters);
    OSSL_PARAM_BLD_free(builder);
    return key;
}

/// Whether `signature` is the key's over `data`; `isPSS` is for RSA only, with a salt as long as the digest.
static inline int martlet_verify(
    EVP_PKEY *key, const EVP_MD *digest, int isPSS, const unsigned char *signature, size_t signatureLength,
    const unsigned char *data, size_t dataLength) {
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *keyContext = NULL;
    int isGood = context != NULL && EVP_DigestVerifyInit(context, &keyContext, digest, NULL, key) == 1;
    if (isGood && isPSS)
        isGood = EVP_PKEY_CTX_set_rsa_padding(keyContext, RSA_PKCS1_PSS_PADDING) == 1 &&
                 EVP_PKEY_CTX_set_rsa_pss_saltlen(keyContext, RSA_PSS_SALTLEN_DIGEST) == 1;
    isGood = isGood && EVP_DigestVerify(context, signature, signatureLength, data, dataLength) == 1;
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return isGood;
}

// The parameters are read during the call; the key is not changed.
static inline int martlet_HMAC_SHA256_set_key(EVP_MAC_CTX *context, unsigned char *key, size_t bytes) {
    OSSL_PARAM parameters[] = {
        OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, key, bytes),
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, "SHA256", 0),
        OSSL_PARAM_construct_end(),
    };
    return EVP_MAC_CTX_set_params(context, parameters);
}
