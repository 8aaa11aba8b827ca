// The endpoint on Azure Functions (Flex Consumption) with its vault, network, logs, alert rules and workbook.
// The same as main.json, which is the tested one: the tests compare the names of both.

@description('What the names of all resources begin with: lower-case letters and digits.')
@minLength(2)
@maxLength(10)
param name string = 'jit'
@description('The region; Flex Consumption must be there.')
param location string = resourceGroup().location
@description('The external tenant\'s id, which is not the tenant of this subscription.')
@minLength(36)
@maxLength(36)
param tenantId string
@description('The application id of the extension\'s app registration.')
@minLength(36)
@maxLength(36)
param extensionAppId string
@description('The app registration\'s identifier URI; empty for api://HOST/ID with this function app\'s host.')
param identifierUri string = ''
@description('The only custom extensions that may call, their ids with commas between them; empty for any of the tenant.')
param extensionIds string = ''
@description('The only listeners that may call, likewise.')
param listenerIds string = ''
@description('Wrong passwords for an account before an instance stops asking: times instances, below the number that locks it.')
@minValue(1)
@maxValue(100)
param guesses int = 4
@description('The migration flag\'s full name, as notebook 01 shows it: extension_, 32 hexadecimal digits, _ and the attribute.')
param migrationFlag string
@description('The name of the certificate in the vault. It is made there afterwards: no template can.')
param certificateName string = 'JitMigrationEncryptionCert'
@description('The object id of who makes the certificate and stores the legacy system\'s connection, best a group.')
@minLength(36)
@maxLength(36)
param administratorId string
@description('What that object id is.')
@allowed(['Group', 'User', 'ServicePrincipal'])
param administratorType string = 'Group'
@description('Public IP addresses from which administrators reach the vault; with none it is reached by its private endpoint alone.')
param administratorAddresses array = []
@description('Who gets the alerts, best a mailbox that several people read.')
param alertEmail string
@description('Instances that always run: with fewer than two, one restart is an outage.')
@minValue(2)
@maxValue(20)
param alwaysReadyInstances int = 2
@description('The most instances, at least 40 on this plan. Guess limits count on each: see jitkit doctor.')
@minValue(40)
@maxValue(1000)
param maximumInstances int = 40
@description('Requests that an instance takes at once. Python\'s own default is one: every second person would wait for a start.')
@minValue(16)
@maxValue(1000)
param requestsPerInstance int = 50
@description('Whether instances are spread over zones; false in a region without them.')
param zoneRedundant bool = true
@description('Memory of an instance; the processor\'s share goes with it.')
@allowed([512, 2048, 4096])
param instanceMemoryMB int = 2048

var suffix = uniqueString(resourceGroup().id)
var appName = '${name}-func-${suffix}'
var host = '${appName}.azurewebsites.net'
var vaultName = take('${name}-kv-${suffix}', 24)
var storageName = take('${name}st${suffix}', 24)
var identifier = empty(identifierUri) ? 'api://${host}/${extensionAppId}' : identifierUri
var blobZone = 'privatelink.blob.${environment().suffixes.storage}'
var vaultZone = 'privatelink.vaultcore.azure.net'
var secretsUser = '4633458b-17de-408a-b874-0445c86b69e6'
var secretsOfficer = 'b86a8fe4-44ce-4948-aee5-eccb2c155cd7'
var certificatesOfficer = 'a4417e6f-fecd-4de8-b567-7b0420556985'
var blobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
var metricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'
var exampleFlag = 'extension_00000000000000000000000000000000_toBeMigrated'
var alerts = loadJsonContent('alerts.json')
var workbook = loadJsonContent('workbook.json')

resource logs 'Microsoft.OperationalInsights/workspaces@2023-09-01' = {
  name: '${name}-logs'
  location: location
  properties: {
    sku: { name: 'PerGB2018' }
    retentionInDays: 90
    features: { enableLogAccessUsingOnlyResourcePermissions: true, disableLocalAuth: true }
  }
}

resource insights 'Microsoft.Insights/components@2020-02-02' = {
  name: '${name}-insights'
  location: location
  kind: 'web'
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: logs.id
    IngestionMode: 'LogAnalytics'
    DisableLocalAuth: true
    DisableIpMasking: false
  }
}

resource nsg 'Microsoft.Network/networkSecurityGroups@2024-05-01' = {
  name: '${name}-nsg'
  location: location
  properties: { securityRules: [] }
}

// The way out to Entra's signing keys, Application Insights and a legacy store that knows callers by their address:
// a new network has none of its own.
resource outgoing 'Microsoft.Network/publicIPAddresses@2024-05-01' = {
  name: '${name}-out'
  location: location
  sku: { name: 'Standard' }
  properties: { publicIPAllocationMethod: 'Static', publicIPAddressVersion: 'IPv4' }
}

resource nat 'Microsoft.Network/natGateways@2024-05-01' = {
  name: '${name}-nat'
  location: location
  sku: { name: 'Standard' }
  properties: {
    publicIpAddresses: [
      { id: outgoing.id }
    ]
  }
}

resource vnet 'Microsoft.Network/virtualNetworks@2024-05-01' = {
  name: '${name}-vnet'
  location: location
  properties: {
    addressSpace: { addressPrefixes: ['10.20.0.0/16'] }
    subnets: [
      {
        name: 'functions'
        properties: {
          addressPrefix: '10.20.0.0/24'
          defaultOutboundAccess: false
          natGateway: { id: nat.id }
          networkSecurityGroup: { id: nsg.id }
          delegations: [
            { name: 'functions', properties: { serviceName: 'Microsoft.App/environments' } }
          ]
        }
      }
      {
        name: 'private-endpoints'
        properties: {
          addressPrefix: '10.20.1.0/24'
          defaultOutboundAccess: false
          networkSecurityGroup: { id: nsg.id }
          privateEndpointNetworkPolicies: 'Enabled'
        }
      }
    ]
  }
}

resource zoneOfVault 'Microsoft.Network/privateDnsZones@2024-06-01' = {
  name: vaultZone
  location: 'global'
  properties: {}
}

resource linkOfVault 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = {
  parent: zoneOfVault
  name: 'vnet'
  location: 'global'
  properties: { registrationEnabled: false, virtualNetwork: { id: vnet.id } }
}

resource zoneOfBlob 'Microsoft.Network/privateDnsZones@2024-06-01' = {
  name: blobZone
  location: 'global'
  properties: {}
}

resource linkOfBlob 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = {
  parent: zoneOfBlob
  name: 'vnet'
  location: 'global'
  properties: { registrationEnabled: false, virtualNetwork: { id: vnet.id } }
}

resource storage 'Microsoft.Storage/storageAccounts@2023-05-01' = {
  name: storageName
  location: location
  kind: 'StorageV2'
  sku: { name: 'Standard_ZRS' }
  properties: {
    allowSharedKeyAccess: false
    allowBlobPublicAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    allowCrossTenantReplication: false
    publicNetworkAccess: 'Disabled'
    networkAcls: { defaultAction: 'Deny', bypass: 'AzureServices' }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2023-05-01' = {
  parent: storage
  name: 'default'
  properties: {
    deleteRetentionPolicy: { enabled: true, days: 14 }
    containerDeleteRetentionPolicy: { enabled: true, days: 14 }
  }
}

resource deployments 'Microsoft.Storage/storageAccounts/blobServices/containers@2023-05-01' = {
  parent: blobs
  name: 'deployments'
  properties: { publicAccess: 'None' }
}

resource vault 'Microsoft.KeyVault/vaults@2023-07-01' = {
  name: vaultName
  location: location
  properties: {
    tenantId: subscription().tenantId
    sku: { family: 'A', name: 'standard' }
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    publicNetworkAccess: empty(administratorAddresses) ? 'Disabled' : 'Enabled'
    networkAcls: {
      defaultAction: 'Deny'
      bypass: 'None'
      virtualNetworkRules: []
      ipRules: [for address in administratorAddresses: { value: address }]
    }
  }
}

resource audit 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'audit'
  scope: vault
  properties: {
    workspaceId: logs.id
    logAnalyticsDestinationType: 'Dedicated'
    logs: [
      { category: 'AuditEvent', enabled: true }
    ]
  }
}

resource endpointOfVault 'Microsoft.Network/privateEndpoints@2024-05-01' = {
  name: '${name}-vault'
  location: location
  properties: {
    subnet: { id: vnet.properties.subnets[1].id }
    privateLinkServiceConnections: [
      { name: 'vault', properties: { privateLinkServiceId: vault.id, groupIds: ['vault'] } }
    ]
  }
}

resource namesOfVault 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = {
  parent: endpointOfVault
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      { name: 'vault', properties: { privateDnsZoneId: zoneOfVault.id } }
    ]
  }
}

resource endpointOfBlob 'Microsoft.Network/privateEndpoints@2024-05-01' = {
  name: '${name}-blob'
  location: location
  properties: {
    subnet: { id: vnet.properties.subnets[1].id }
    privateLinkServiceConnections: [
      { name: 'blob', properties: { privateLinkServiceId: storage.id, groupIds: ['blob'] } }
    ]
  }
}

resource namesOfBlob 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = {
  parent: endpointOfBlob
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      { name: 'blob', properties: { privateDnsZoneId: zoneOfBlob.id } }
    ]
  }
}

resource plan 'Microsoft.Web/serverfarms@2025-05-01' = {
  name: '${name}-plan'
  location: location
  kind: 'functionapp'
  sku: { name: 'FC1', tier: 'FlexConsumption' }
  properties: { reserved: true, zoneRedundant: zoneRedundant }
}

// The front door stays public: Entra could not reach a private endpoint.
resource app 'Microsoft.Web/sites@2025-05-01' = {
  name: appName
  location: location
  kind: 'functionapp,linux'
  identity: { type: 'SystemAssigned' }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    virtualNetworkSubnetId: vnet.properties.subnets[0].id
    publicNetworkAccess: 'Enabled'
    clientCertEnabled: false
    functionAppConfig: {
      runtime: { name: 'python', version: '3.13' }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storage.properties.primaryEndpoints.blob}deployments'
          authentication: { type: 'SystemAssignedIdentity' }
        }
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstances
        alwaysReady: [
          { name: 'http', instanceCount: alwaysReadyInstances }
        ]
        triggers: { http: { perInstanceConcurrency: requestsPerInstance } }
      }
      siteUpdateStrategy: { type: 'RollingUpdate' }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
      ftpsState: 'Disabled'
      http20Enabled: true
      remoteDebuggingEnabled: false
      appSettings: [
        { name: 'AzureWebJobsStorage__accountName', value: storageName }
        { name: 'AzureWebJobsStorage__credential', value: 'managedidentity' }
        { name: 'APPLICATIONINSIGHTS_CONNECTION_STRING', value: insights.properties.ConnectionString }
        { name: 'APPLICATIONINSIGHTS_AUTHENTICATION_STRING', value: 'Authorization=AAD' }
        { name: 'AZURE_TOKEN_CREDENTIALS', value: 'ManagedIdentityCredential' }
        { name: 'JIT_TENANT_ID', value: tenantId }
        { name: 'JIT_EXTENSION_APP_ID', value: extensionAppId }
        { name: 'JIT_IDENTIFIER_URI', value: identifier }
        { name: 'JIT_EXTENSION_IDS', value: extensionIds }
        { name: 'JIT_LISTENER_IDS', value: listenerIds }
        { name: 'JIT_GUESSES', value: string(guesses) }
        { name: 'JIT_PROFILE', value: 'production' }
        { name: 'JIT_BEHIND_TLS', value: '1' }
        { name: 'JIT_TELEMETRY', value: 'calls' }
        { name: 'KeyVaultUrl', value: vault.properties.vaultUri }
        { name: 'CiamJitMigrationEncryptionCertName', value: certificateName }
        {
          name: 'LegacyApiConnectionString'
          value: '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=LegacyApiConnectionString)'
        }
      ]
    }
  }
  dependsOn: [deployments, namesOfVault, namesOfBlob]
}

resource appReadsSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, app.id, secretsUser)
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', secretsUser)
    principalId: app.identity.principalId
    principalType: 'ServicePrincipal'
  }
}

resource appOwnsBlobs 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(storage.id, app.id, blobDataOwner)
  scope: storage
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataOwner)
    principalId: app.identity.principalId
    principalType: 'ServicePrincipal'
  }
}

resource appSendsTelemetry 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, app.id, metricsPublisher)
  scope: insights
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', metricsPublisher)
    principalId: app.identity.principalId
    principalType: 'ServicePrincipal'
  }
}

resource administratorStoresSecrets 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, administratorId, secretsOfficer)
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', secretsOfficer)
    principalId: administratorId
    principalType: administratorType
  }
}

resource administratorMakesCertificates 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(vault.id, administratorId, certificatesOfficer)
  scope: vault
  properties: {
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', certificatesOfficer)
    principalId: administratorId
    principalType: administratorType
  }
}

resource operators 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: '${name}-alerts'
  location: 'global'
  properties: {
    groupShortName: 'jit'
    enabled: true
    emailReceivers: [
      { name: 'operators', emailAddress: alertEmail, useCommonAlertSchema: true }
    ]
  }
}

// The queries may name tables that appear with the first log only, so that they are not validated here.
resource rules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for alert in alerts: {
  name: '${name}-${alert.name}'
  location: location
  kind: 'LogAlert'
  properties: {
    displayName: alert.title
    description: alert.next
    severity: alert.severity
    enabled: true
    scopes: [logs.id]
    evaluationFrequency: alert.every
    windowSize: alert.window
    criteria: {
      allOf: [
        {
          query: replace(alert.query, exampleFlag, migrationFlag)
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: { numberOfEvaluationPeriods: 1, minFailingPeriodsToAlert: 1 }
        }
      ]
    }
    autoMitigate: true
    skipQueryValidation: true
    actions: { actionGroups: [operators.id] }
  }
}]

resource progress 'Microsoft.Insights/workbooks@2023-06-01' = {
  name: guid(resourceGroup().id, 'jit migration')
  location: location
  kind: 'shared'
  properties: {
    displayName: 'Migration: progress and health'
    category: 'workbook'
    sourceId: logs.id
    version: '1.0'
    serializedData: replace(string(workbook), exampleFlag, migrationFlag)
  }
}

output functionAppName string = appName
output endpointUrl string = 'https://${host}/api/JitMigrationEndpoint'
output identifierUri string = identifier
output outgoingAddress string = outgoing.properties.ipAddress
output vaultUrl string = vault.properties.vaultUri
output principalId string = app.identity.principalId
output workspaceId string = logs.id
