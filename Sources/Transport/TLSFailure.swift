// SPDX-License-Identifier: Apache-2.0
// Martlet, Transport: turns what OpenSSL reports into an error that a person understands.
//
// The library chooses the alert for the peer (RFC 8446 section 6.2); this file chooses the words
// for us. The first fault of a certificate is noted while it is verified, because the library's
// error says only that verification failed.

import COpenSSL
import NIOCore

/// The first fault that the verification of a peer's chain found.
struct VerificationFault {
    /// X509_V_ERR_…
    var code: Int32
    /// 0 is the peer's own certificate.
    var depth: Int32
    var certificate: PeerCertificate?
}

/// Notes the first fault and agrees with the library's verdict.
func judgeCertificate(isGood: Int32, store: OpaquePointer?) -> Int32 {
    guard isGood != 1 else { return isGood }
    if unsafe isUnlistedAuthority(store) { return 1 }
    // SAFETY: store and SSL are live for the callback; the certificate is borrowed and up_ref'd.
    let ssl = unsafe X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx())
    guard let session = unsafe TLSSession.owner(of: ssl.map { OpaquePointer($0) }),
        session.verificationFault == nil
    else { return isGood }
    var summary: PeerCertificate?
    if let pointer = unsafe X509_STORE_CTX_get_current_cert(store), unsafe X509_up_ref(pointer) == 1
    {
        summary = unsafe X509Certificate(taking: pointer).summary
    }
    session.verificationFault = unsafe VerificationFault(
        code: X509_STORE_CTX_get_error(store), depth: X509_STORE_CTX_get_error_depth(store),
        certificate: summary)
    return isGood
}

/// Only the peer's own certificate has to be on a list; an intermediate CA whose CA publishes none is let pass.
private func isUnlistedAuthority(_ store: OpaquePointer?) -> Bool {
    // SAFETY: the store is live for the callback.
    guard unsafe X509_STORE_CTX_get_error(store) == X509_V_ERR_UNABLE_TO_GET_CRL,
        unsafe X509_STORE_CTX_get_error_depth(store) > 0
    else { return false }
    unsafe X509_STORE_CTX_set_error(store, X509_V_OK)
    return true
}

extension TLSSession {
    private var isServer: Bool {
        if case .server = role { true } else { false }
    }

    /// The other side, in words.
    private var peer: String { isServer ? "client" : "server" }

    /// Takes the error queue and makes an error of it. `error` is what SSL_get_error said.
    func takeFailure(_ error: Int32) -> TLSError {
        let code = ERR_get_error()
        ERR_clear_error()
        guard error == SSL_ERROR_SSL, code != 0 else {
            return TLSError(.library, "the TLS library stopped with state \(error)")
        }
        let reason = ERR_GET_REASON(code)
        if reason >= SSL_AD_REASON_OFFSET { return alertReceived(reason - SSL_AD_REASON_OFFSET) }
        switch reason {
        case SSL_R_CERTIFICATE_VERIFY_FAILED: return certificateFailure()
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return TLSError(
                .certificateMissing,
                "client sent no certificate, and this listener requires one (tls.client.auth: required); "
                    + "give the client one, or let it log in otherwise with `requested`")
        case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_NO_PROTOCOLS_AVAILABLE, SSL_R_VERSION_TOO_LOW,
            SSL_R_UNKNOWN_SSL_VERSION:
            return versionFailure()
        case SSL_R_NO_APPLICATION_PROTOCOL: return applicationProtocolFailure()
        case SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SUITABLE_KEY_SHARE,
            SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM,
            SSL_R_NO_SHARED_GROUPS, SSL_R_NO_SUITABLE_GROUPS:
            return TLSError(
                .nothingInCommon, "\(peer) has no cipher, group or signature in common with us")
        case SSL_R_HTTP_REQUEST, SSL_R_HTTPS_PROXY_REQUEST, SSL_R_WRONG_VERSION_NUMBER:
            return TLSError(
                .notTLS, "\(peer) does not speak TLS, though its first byte looked like it")
        default: return TLSError(.protocolViolation, "\(peer) broke TLS: \(openSSLReason(code))")
        }
    }

    /// Plaintext where TLS was expected.
    func notTLS(_ bytes: ByteBuffer) -> TLSError {
        guard isServer else {
            return TLSError(.notTLS, "server does not speak TLS on this port; connect without TLS")
        }
        switch ProtocolSniffer(kafkaFrameBytesMax: TransportLimits().kafkaFrameBytesMax).judge(
            bytes)
        {
        case .found(let wire):
            return TLSError(
                .notTLS,
                "a plaintext \(wire.rawValue) client spoke to a TLS port; "
                    + "switch TLS on in the client"
            )
        case .unknown(let what): return TLSError(.notTLS, "\(what) on a TLS port")
        case .undecided: return TLSError(.notTLS, "unknown bytes on a TLS port")
        }
    }

    private func versionFailure() -> TLSError {
        let least = context.options.minimumVersion.rawValue
        guard isServer else {
            return TLSError(.versionTooOld, "server does not speak \(least), which is required")
        }
        // SAFETY: `ssl` is live.
        let spoken =
            switch unsafe SSL_client_version(ssl) {
            case SSL3_VERSION: "SSL 3.0"
            case TLS1_VERSION: "TLS 1.0"
            case TLS1_1_VERSION: "TLS 1.1"
            case TLS1_2_VERSION: "TLS 1.2"
            default: "a version unknown here"
            }
        return TLSError(.versionTooOld, "client speaks \(spoken), at least \(least) is required")
    }

    private func applicationProtocolFailure() -> TLSError {
        let offered = applicationProtocolsOffered.prefix(8).map { $0.debugDescription }
        return TLSError(
            .applicationProtocol,
            "client offers \(offered.joined(separator: ", ")) by ALPN; spoken here: "
                + context.options.applicationProtocols.joined(separator: ", ")
                + ", and Kafka without ALPN")
    }

    // MARK: Certificates

    private func certificateFailure() -> TLSError {
        guard let fault = verificationFault else {
            return TLSError(.certificateInvalid, "\(peer) certificate could not be verified")
        }
        let what = fault.depth == 0 ? "\(peer) certificate" : "CA certificate of the \(peer)"
        let name = fault.certificate.map { " (\($0.subject))" } ?? ""
        switch fault.code {
        case X509_V_ERR_CERT_HAS_EXPIRED:
            let day = fault.certificate.map { dateText($0.notAfterMs) } ?? "an unknown day"
            return TLSError(.certificateExpired, "\(what) expired on \(day)\(name); mint a new one")
        case X509_V_ERR_CERT_NOT_YET_VALID:
            let day = fault.certificate.map { dateText($0.notBeforeMs) } ?? "an unknown day"
            return TLSError(
                .certificateNotYetValid,
                "\(what) is not valid before \(day)\(name); check the clocks")
        case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
            X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
            X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, X509_V_ERR_CERT_SIGNATURE_FAILURE,
            X509_V_ERR_CERT_UNTRUSTED:
            return unknownAuthority(what, name, fault)
        case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
            return hostnameFailure(fault)
        case X509_V_ERR_CERT_REVOKED:
            return TLSError(
                .certificateRevoked, "\(what)\(name) was revoked by its CA; mint a new one")
        case X509_V_ERR_UNABLE_TO_GET_CRL, X509_V_ERR_CRL_HAS_EXPIRED, X509_V_ERR_CRL_NOT_YET_VALID,
            X509_V_ERR_CRL_SIGNATURE_FAILURE, X509_V_ERR_UNABLE_TO_GET_CRL_ISSUER:
            return revocationFailure(what, name, fault)
        case X509_V_ERR_INVALID_PURPOSE:
            return TLSError(
                .certificateInvalid,
                "\(what)\(name) is not meant for a \(peer) (extended key usage)")
        default:
            // SAFETY: the texts are static.
            let text = unsafe String(cString: X509_verify_cert_error_string(Int(fault.code)))
            return TLSError(.certificateInvalid, "\(what)\(name) is not accepted: \(text)")
        }
    }

    private func unknownAuthority(_ what: String, _ name: String, _ fault: VerificationFault) -> TLSError {
        let issuer = fault.certificate.map { " \($0.issuer)" } ?? ""
        let isUnfinished = fault.code == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY
            || fault.code == X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE
            || fault.code == X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT
        let hint = isUnfinished
            ? "; if that is an intermediate CA, the \(peer) must send its certificate too: put it behind the \(peer)'s own,"
                + " into the same file" : ""
        return TLSError(.unknownAuthority, "\(what)\(name) is signed by an unknown CA\(issuer)\(hint)")
    }

    /// Without a list that holds, nobody can say that the certificate was not revoked.
    private func revocationFailure(_ what: String, _ name: String, _ fault: VerificationFault) -> TLSError {
        let why =
            switch fault.code {
            case X509_V_ERR_CRL_HAS_EXPIRED: "the revocation list of its CA has expired; publish a new one"
            case X509_V_ERR_CRL_NOT_YET_VALID: "the revocation list of its CA is not valid yet; check the clocks"
            case X509_V_ERR_UNABLE_TO_GET_CRL: "there is no revocation list of its CA"
            default: "the revocation list is not signed by its CA"
            }
        let file = context.options.revocationFile.map { " in \($0)" } ?? ""
        return TLSError(.certificateRevoked, "\(what)\(name) cannot be accepted: \(why)\(file)")
    }

    private func hostnameFailure(_ fault: VerificationFault) -> TLSError {
        var host = "this host"
        if case .client(let name?) = role { host = name }
        let list = fault.certificate?.hosts.joined(separator: ", ") ?? ""
        let names = list.isEmpty ? "no host at all" : list
        return TLSError(
            .hostnameMismatch, "server certificate is not for \(host), but for \(names)"
        )
    }

    // MARK: Alerts

    private func alertReceived(_ alert: Int32) -> TLSError {
        // SAFETY: the texts are static. OpenSSL 3.0 has none for this alert of TLS 1.3.
        let text =
            alert == SSL_AD_CERTIFICATE_REQUIRED
            ? "certificate required" : unsafe String(cString: SSL_alert_desc_string_long(alert))
        return TLSError(.alertReceived, "\(peer) ended TLS (alert: \(text))\(alertHint(alert))")
    }

    /// What an alert usually means on this side, and what to do.
    private func alertHint(_ alert: Int32) -> String {
        switch (alert, isServer) {
        case (SSL_AD_UNKNOWN_CA, true), (SSL_AD_CERTIFICATE_UNKNOWN, true),
            (SSL_AD_BAD_CERTIFICATE, true):
            "; it does not trust our certificate: give it our CA certificate, and a host name in it"
        case (SSL_AD_UNKNOWN_CA, false): "; it does not know the CA of our certificate"
        case (SSL_AD_CERTIFICATE_REQUIRED, false), (SSL_AD_HANDSHAKE_FAILURE, false):
            "; it asks for a client certificate"
        case (SSL_AD_CERTIFICATE_EXPIRED, _): "; our certificate has expired"
        case (SSL_AD_PROTOCOL_VERSION, _): "; it speaks other versions of TLS"
        case (SSL_AD_NO_APPLICATION_PROTOCOL, false): "; it speaks none of the protocols we offer"
        default: ""
        }
    }
}

/// `2026-01-02`, in UTC, proleptic Gregorian.
func dateText(_ ms: Int64) -> String {
    var days = ms / 86_400_000
    if ms % 86_400_000 < 0 { days -= 1 }
    // Days are counted from 0000-03-01, so that a leap day ends a year (and a 400-year era).
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    let day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
    let month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    return "\(year)-\(twoDigits(month))-\(twoDigits(day))"
}

private func twoDigits(_ number: Int64) -> String {
    number < 10 ? "0\(number)" : "\(number)"
}
