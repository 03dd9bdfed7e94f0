//! The topic map of the platform: all 57 topics, each under its group and name in the platform's
//! source (`sermas.topic.ts`). Beside it those that a vinbus host server adds, [`OF_HOST`].

use super::{Owner, PayloadKind, TopicSpec};

/// Declares each topic as a constant, and a list of them: its group and key, its resource and scope,
/// the levels behind them, and what is published on it.
macro_rules! topic_map {
    ($(#[$list_meta:meta])* $list:ident: $($root:literal $owner:expr => { $(
        $name:ident: $group:ident.$key:ident, $resource:literal $scope:literal [$($level:literal)*] $payload:ident;
    )* })*) => {
        $($(
            #[doc = concat!("`", $root, "/", $resource, "/", $scope, $("/", $level,)* "`")]
            pub const $name: TopicSpec = TopicSpec {
                group: stringify!($group),
                key: stringify!($key),
                pattern: concat!($root, "/", $resource, "/", $scope $(, "/", $level)*),
                owner: $owner,
                resource: $resource,
                scope: $scope,
                context: &[$($level),*],
                payload: PayloadKind::$payload,
            };
        )*)*

        $(#[$list_meta])*
        pub const $list: &[TopicSpec] = &[$($($name),*),*];
    };
}

topic_map! {
    /// Every topic of the map.
    ALL:
    "app/:appId" Owner::App(":appId") => {
        UI_ASSET_STATUS: ui.assetStatus, "ui" "status" [] Event;
        UI_INTERACTION: ui.interaction, "ui" "interaction" [":moduleId"] UiInteraction;
        UI_CONTENT: ui.content, "ui" "content" [] Event;

        DETECTION_USER_DETECTION: detection.userDetection, "detection" "user" [] Event;
        DETECTION_INTERACTION_INTENTION: detection.interactionIntention, "detection" "interaction" [] Event;
        DETECTION_USER_CHARACTERIZATION: detection.userCharacterization, "detection" "characterization" [] Event;
        DETECTION_AUDIO_CLASSIFICATION: detection.audioClassification, "detection" "audio" [] Event;
        DETECTION_OBJECT_DETECTION: detection.objectDetection, "detection" "object" [] Event;
        DETECTION_QR_CODE: detection.qrCode, "detection" "qr_code" [] Event;
        DETECTION_NOISE: detection.noise, "detection" "noise" [] Event;

        ROBOTICS_ACTUATION: robotics.actuation, "robotics" "actuate" [] Event;
        ROBOTICS_MOVEMENT: robotics.movement, "robotics" "move" [] Event;
        ROBOTICS_STATUS: robotics.status, "robotics" "status" [] Event;
        ROBOTICS_INITIAL_POSE: robotics.initialPose, "robotics" "initialpose" [] Event;
        ROBOTICS_OP_STATE: robotics.opState, "robotics" "opstate" [] OperationState;

        SESSION_USER_INTERACTION: session.userInteraction, "session" "interaction" ["user"] Event;
        SESSION_AGENT_INTERACTION: session.agentInteraction, "session" "interaction" ["agent"] Event;
        SESSION_AGENT_HEART_BEAT: session.agentHeartBeat, "session" "agent" ["heartbeat"] AgentHeartBeat;
        SESSION_AGENT_CHANGED: session.agentChanged, "session" "agent" ["changed" ":agentId"] Change;
        SESSION_SUPPORT: session.support, "session" "support" [] Event;
        SESSION_STORAGE: session.storage, "session" "storage" [":storageId"] Event;
        SESSION_SESSION_CHANGED: session.sessionChanged, "session" "session" ["changed" ":sessionId"] Change;

        DIALOGUE_LANGUAGE_MANAGEMENT: dialogue.languageManagement, "dialogue" "language" [] Event;
        DIALOGUE_MESSAGES: dialogue.messages, "dialogue" "messages" [":sessionId"] DialogueMessage;
        DIALOGUE_STT: dialogue.stt, "dialogue" "stt" [":sessionId"] Event;
        DIALOGUE_USER_SPEECH: dialogue.userSpeech, "dialogue" "user-speech" [":sessionId" ":chunkId"] Bytes;
        DIALOGUE_USER_SPEECH_STREAM: dialogue.userSpeechStream, "dialogue" "user-speech" ["stream" ":sessionId" ":chunkId"] Bytes;
        DIALOGUE_AGENT_SPEECH: dialogue.agentSpeech, "dialogue" "speech" [":sessionId" ":messageId" ":chunkId"] Bytes;
        DIALOGUE_AGENT_STOP_SPEECH: dialogue.agentStopSpeech, "dialogue" "stop" [":sessionId"] Event;
        DIALOGUE_AGENT_PAUSE_SPEECH: dialogue.agentPauseSpeech, "dialogue" "pause" [":sessionId"] Event;
        DIALOGUE_AGENT_CONTINUE_SPEECH: dialogue.agentContinueSpeech, "dialogue" "continue" [":sessionId"] Event;
        DIALOGUE_DIALOG_DOCUMENT: dialogue.dialogDocument, "dialogue" "document" [] Event;
        DIALOGUE_TOOL_TRIGGERED: dialogue.toolTriggered, "dialogue" "tool" [":name"] Event;
        DIALOGUE_TOOL_CHANGED: dialogue.toolChanged, "dialogue" "tool" ["changed" ":repositoryId"] Change;
        DIALOGUE_TOOL_NOT_MATCHING: dialogue.toolNotMatching, "dialogue" "tool" ["not-matching"] Event;
        DIALOGUE_TASK_TRIGGERED: dialogue.taskTriggered, "dialogue" "task" [":taskId"] Event;
        DIALOGUE_TASK_CHANGED: dialogue.taskChanged, "dialogue" "task" ["changed" ":taskId"] Change;
        DIALOGUE_TASK_PROGRESS: dialogue.taskProgress, "dialogue" "task" ["progress" ":taskId"] Event;
        DIALOGUE_TASK_RECORD_CHANGED: dialogue.taskRecordChanged, "dialogue" "task" ["record" ":taskId"] Change;
        DIALOGUE_TASK_FIELD_HANDLER: dialogue.taskFieldHandler, "dialogue" "task" ["handler"] Event;
        DIALOGUE_REQUEST: dialogue.request, "dialogue" "request" [":sessionId"] Event;
        DIALOGUE_PROGRESS: dialogue.progress, "dialogue" "progress" [":sessionId"] Event;

        XR_OCCLUSION: xr.occlusion, "xr" "occlusion" [] Event;
        XR_MARKER_DETECTED: xr.markerDetected, "xr" "marker" ["detected"] Event;
        XR_MARKER_CHANGED: xr.markerChanged, "xr" "marker" ["changed" ":markerId"] Change;

        AUTH_UPDATE: auth.update, "auth" "update" [] Event;
        AUTH_CREATE: auth.create, "auth" "create" [] Event;
        AUTH_LOGIN: auth.login, "auth" "login" [] Event;
        AUTH_MANAGEMENT: auth.management, "auth" "management" [] Event;

        PLATFORM_APP_CHANGED: platform.appChanged, "platform" "app" ["changed" ":appId"] Change;
        PLATFORM_CLIENT_CHANGED: platform.clientChanged, "platform" "client" ["changed" ":clientId"] Change;
        PLATFORM_TOKEN_REQUESTED: platform.tokenRequested, "platform" "token" [] TokenRequested;
        PLATFORM_APP_MODULE_CHANGED: platform.appModuleChanged, "platform" "module" [] Change;
        PLATFORM_MONITORING_RECORD: platform.monitoringRecord, "platform" "monitoring" [] Event;

        MONITORING_DATASET: monitoring.dataset, "monitoring" "dataset" [] Event;

        DATACOLLECTION_DATACOLLECTION: datacollection.datacollection, "datacollection" "interaction" [] Event;
    }
    "system" Owner::System => {
        PLATFORM_MODULE_CHANGED: platform.moduleChanged, "platform" "module" ["changed" ":moduleId"] Change;
    }
}

topic_map! {
    /// What a vinbus host server publishes beside the map (SPEC 15.6, 17): what happens to tokens,
    /// vehicles and their messages.
    OF_HOST:
    "app/:appId" Owner::App(":appId") => {
        PLATFORM_TOKEN_EXPIRING: platform.tokenExpiring, "platform" "token" ["expiring" ":clientId"] TokenExpiring;
        VEHICLE_PRESENCE: vehicle.presence, "vehicle" "presence" [":vin"] VehiclePresence;
        VEHICLE_RECEIVED: vehicle.received, "vehicle" "received" [":vin"] VehicleReceived;
        VEHICLE_REFUSED: vehicle.refused, "vehicle" "refused" [":vin"] VehicleRefused;
        VEHICLE_HEALTH: vehicle.health, "vehicle" "health" [":vin"] VehicleHealth;
        VEHICLE_MESSAGE: vehicle.message, "vehicle" "message" [":vin" ":step"] MessageStep;
        VEHICLE_MISSED: vehicle.missed, "vehicle" "missed" [] EventsMissed;
    }
}
